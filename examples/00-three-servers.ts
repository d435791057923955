import { devCluster, text, utf8 } from 'keelson'

// Three servers, a client and a node in one process: production code, with network and disks in memory.
await using cluster = await devCluster({ servers: 3 })
const { store, admin } = cluster.client
const key = utf8('/shards/7/leader')

// The metadata store: transactions with compares, watches, sessions.
const { revision } = await store.txn({
  if: [{ key, target: 'version', is: '=', operand: 0 }],
  then: [{ type: 'put', key, value: utf8('db1') }],
})
await cluster.addNode('db1', { locality: 'zone=a' })
const [node] = await admin.nodes.list()
console.log(`${node?.descriptor.nodeId} has joined, and leads shard 7 as of revision ${revision}`)

// The leader dies. The other two go on, and nothing is lost.
const leader = cluster.leader()
await leader.close()
await store.txn({ then: [{ type: 'put', key, value: utf8('db2') }] })
for await (const change of store.watch({ key }, { fromRevision: revision })) {
  if (change.type !== 'changes') continue
  for (const { entry } of change.events) console.log(`revision ${change.revision}: ${text(entry.value)}`)
  if (change.events.some(({ entry }) => text(entry.value) === 'db2')) break
}
