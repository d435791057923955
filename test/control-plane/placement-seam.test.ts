import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PlacementOptions } from '../../src/control-plane/leader-duties.ts'
import type { DevCluster, TableDescriptor } from '../../src/index.ts'
import { devCluster, encodeTuple } from '../../src/index.ts'
import { balance, RuleBook } from '../../src/placement/index.ts'
import { VirtualTime } from '../support/virtual-time.ts'
import { type LoadOf, PlainRanges } from './support/plain-ranges.ts'

/** Six nodes in three zones, the first three with fast disks, under a real control plane. */
class Site {
  readonly time = new VirtualTime(5)
  readonly ranges: PlainRanges
  #cluster: DevCluster | undefined

  constructor(loadOf?: LoadOf) {
    this.ranges = new PlainRanges(loadOf)
  }

  static async open(
    placement: PlacementOptions = {},
    { nodes = 6, loadOf }: { readonly nodes?: number; readonly loadOf?: LoadOf } = {},
  ): Promise<Site> {
    const site = new Site(loadOf)
    const { time } = site
    const quick = { intervalMs: 200, dampingMs: 1000, retryAfterMs: 1000, pollIntervalMs: 50, settleMs: 50 }
    const options = { env: time.env, servers: 1, placement: { ...quick, ...placement } }
    const cluster = await time.until(devCluster(options))
    site.#cluster = cluster
    for (let i = 1; i <= nodes; i++) {
      const described = {
        locality: `zone=z${i % 3}`,
        labels: { disk: i <= 3 ? 'ssd' : 'hdd' },
        capacity: { bytes: 1000, cpu: 16 },
      }
      const { agent } = await time.until(cluster.addNode(`db${i}`, described))
      void agent.serve({ ranges: site.ranges.host(`db${i}`) })
    }
    return site
  }

  get cluster(): DevCluster {
    return this.#cluster as DevCluster
  }

  /** A table of rows by number; `cuts` are the numbers that ranges begin at. */
  async table(name: string, replicas: number, cuts: readonly number[] = []): Promise<TableDescriptor> {
    const columns = [{ name: 'id', valueType: 'number' as const, required: true }]
    const splitKeys = ({ tableId }: TableDescriptor): Uint8Array[] =>
      cuts.map((cut) => encodeTuple([tableId, cut]))
    const { admin } = this.cluster.client
    return this.time.until(admin.createTable({ name, columns, primaryKey: ['id'] }, { replicas, splitKeys }))
  }

  async close(): Promise<void> {
    await this.time.until(this.cluster.close())
  }
}

describe('what the planner is told of a real cluster', () => {
  test('the rules of a table hold for its ranges', async () => {
    const rules = new RuleBook({
      rules: [
        {
          id: 'orders on fast disks',
          scope: { type: 'table', tableId: 1 },
          require: [{ match: [{ label: 'disk', in: ['ssd'] }] }],
        },
      ],
    })
    const site = await Site.open({ policy: { rules } })
    await site.table('orders', 3)
    await site.time.advance(10_000)
    const placement = site.cluster.leader().duties?.placement
    assert.equal(placement?.snapshot().range(1)?.tableId, 1)
    assert.deepEqual([...site.ranges.nodesOf(1)].sort(), ['db1', 'db2', 'db3'])
    await site.close()
  })

  test('new ranges are placed beside what nodes have to carry already, and never on nodes that are worked on', async () => {
    const rules = new RuleBook({
      rules: [
        {
          id: 'orders on fast disks',
          scope: { type: 'table', tableId: 1 },
          require: [{ match: [{ label: 'disk', in: ['ssd'] }] }],
        },
      ],
    })
    const policy = { rules, goals: [balance({ resource: 'bytes' })] }
    const site = await Site.open({ policy }, { loadOf: () => ({ bytes: 600 }) })
    const placed: (readonly string[])[] = []
    site.ranges.onBootstrap = (rangeId) => placed.push([...site.ranges.nodesOf(rangeId)].sort())
    await site.table('orders', 3)
    await site.time.advance(2_000)
    await site.table('rows', 3)
    assert.deepEqual(placed, [
      ['db1', 'db2', 'db3'],
      ['db4', 'db5', 'db6'],
    ])
    const { admin } = site.cluster.client
    const { jobId } = await site.time.until(
      admin.operations.maintenance(['db4'], { boundMs: 600_000, reason: 'a new disk' }),
    )
    assert.ok(jobId > 0)
    await site.time.advance(2_000)
    await site.table('more', 3)
    assert.ok(placed[2]?.includes('db4') === false, String(placed[2]))
    await site.close()
  })

  test('what leading costs is told apart from the rest, and leases move for its sake', async () => {
    const site = await Site.open(
      { policy: { goals: [balance({ resource: 'cpu' })] } },
      { nodes: 3, loadOf: ({ leads }) => ({ bytes: 10, cpu: leads ? 4 : 0.5 }) },
    )
    await site.table('orders', 3, [10, 20, 30, 40, 50])
    await site.time.advance(2_000)
    for (const range of site.ranges.ranges.values()) {
      range.leader = range.replicas.find(({ nodeId }) => nodeId === 'db1')?.replicaId ?? 0
      range.sequence++
    }
    await site.time.advance(20_000)
    const snapshot = site.cluster.leader().duties?.placement.snapshot()
    const at = (name: string): number => snapshot?.resources.indexOf(name) ?? -1
    const range = snapshot?.range(1)
    assert.deepEqual([range?.load(at('cpu')), range?.leaderLoad(at('cpu'))], [0.5, 3.5])
    assert.deepEqual([range?.load(at('bytes')), range?.leaderLoad(at('bytes'))], [10, 0])
    const led = [...site.ranges.ranges.keys()].map((rangeId) => site.ranges.nodesOf(rangeId)[0])
    assert.deepEqual(led.sort(), ['db1', 'db1', 'db2', 'db2', 'db3', 'db3'])
    await site.close()
  })
})
