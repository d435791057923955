import { describe, test } from 'node:test'
import type { MetadataStore } from '../../../src/interfaces/metadata-store.ts'
import { metadataStoreCompliance } from '../../../src/testing/index.ts'
import { MetadataCluster } from '../support/cluster.ts'

type Open = (cluster: MetadataCluster) => () => Promise<MetadataStore>

const kinds: Readonly<Record<string, Open>> = {
  'MetadataClient over three servers': (cluster) => async () => cluster.client(),
  'embedded store of the leader, then of the followers': (cluster) => {
    let turn = 0
    return async () => {
      const nodes = [await cluster.leader(), ...(await cluster.followers())]
      const node = nodes[turn++ % nodes.length]
      return (node as (typeof nodes)[number]).server.store
    }
  },
  'embedded store of a follower': (cluster) => async () => {
    const [follower] = await cluster.followers()
    return (follower as NonNullable<typeof follower>).server.store
  },
}

for (const [kind, open] of Object.entries(kinds)) {
  describe(kind, () => {
    let cluster = new MetadataCluster()
    const suite = metadataStoreCompliance(async () => {
      await cluster.start()
      return {
        env: cluster.observer,
        open: open(cluster),
        close: async () => {
          for (const node of cluster.servers) await node.server.close()
        },
      }
    })
    for (const { name, run } of suite) {
      test(name, async () => {
        cluster = new MetadataCluster({ seed: name.length })
        await cluster.run(run)
      })
    }
  })
}
