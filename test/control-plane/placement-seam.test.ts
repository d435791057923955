import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import type { LeaderDuties, PlacementOptions } from '../../src/control-plane/leader-duties.ts'
import type { DevCluster, DevNodeOptions, KeelsonError, TableDescriptor } from '../../src/index.ts'
import { devCluster, encodeTuple } from '../../src/index.ts'
import { balance, RuleBook } from '../../src/placement/index.ts'
import { VirtualTime } from '../support/virtual-time.ts'
import { type LoadOf, PlainRanges } from './support/plain-ranges.ts'

/** Three zones; three fast disks. */
function plainNode(number: number): DevNodeOptions {
  return {
    locality: `zone=z${number % 3}`,
    labels: { disk: number <= 3 ? 'ssd' : 'hdd' },
    capacity: { bytes: 1000, cpu: 16 },
  }
}

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
    {
      nodes = 6,
      servers = 1,
      loadOf,
      describeNode = plainNode,
    }: {
      readonly nodes?: number
      readonly servers?: number
      readonly loadOf?: LoadOf
      readonly describeNode?: (number: number) => DevNodeOptions
    } = {},
  ): Promise<Site> {
    const site = new Site(loadOf)
    const { time } = site
    const quick = { intervalMs: 200, dampingMs: 1000, retryAfterMs: 1000, pollIntervalMs: 50, settleMs: 50 }
    const options = { env: time.env, servers, placement: { ...quick, ...placement } }
    const cluster = await time.until(devCluster(options))
    site.#cluster = cluster
    for (let i = 1; i <= nodes; i++) {
      const { agent } = await time.until(cluster.addNode(`db${i}`, describeNode(i)))
      agent.serve({ ranges: site.ranges.host(`db${i}`) })
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
    const led = [...site.ranges.ranges.keys()].map((rangeId) => String(site.ranges.nodesOf(rangeId)[0]))
    assert.deepEqual(led.sort(), ['db1', 'db1', 'db2', 'db2', 'db3', 'db3'])
    await site.close()
  })

  test('rules are set, changed and taken away while the cluster runs, by the id that a table has got', async () => {
    const site = await Site.open()
    const { admin } = site.cluster.client
    const orders = await site.table('orders', 3)
    const onSsd = {
      id: 'orders on fast disks',
      scope: { type: 'table', tableId: orders.tableId },
      require: [{ match: [{ label: 'disk', in: ['ssd'] }] }],
    } as const
    await site.time.until(admin.rules.set({ rules: [onSsd] }))
    await site.time.advance(20_000)
    assert.deepEqual([...site.ranges.nodesOf(1)].sort(), ['db1', 'db2', 'db3'])
    await assert.rejects(
      site.time.until(
        admin.rules.set({
          rules: [
            {
              id: 'nothing on fast disks',
              scope: { type: 'cluster' },
              prohibit: [[{ label: 'disk', in: ['ssd'] }]],
            },
          ],
        }),
      ),
      (error: KeelsonError) =>
        error.code === 'INVALID_OPTION' &&
        ['rule', 'otherRule']
          .map((key) => String(error.details[key]))
          .sort()
          .join() === 'nothing on fast disks,orders on fast disks',
    )
    const onHdd = { ...onSsd, require: [{ match: [{ label: 'disk', in: ['hdd'] }] }] }
    await site.time.until(admin.rules.set({ rules: [onHdd] }))
    await site.time.advance(60_000)
    assert.deepEqual([...site.ranges.nodesOf(1)].sort(), ['db4', 'db5', 'db6'])
    assert.deepEqual(
      (await site.time.until(admin.rules.list())).rules.map(({ id }) => id),
      ['orders on fast disks', 'replicas-of-table-1'],
    )
    await site.time.until(admin.rules.remove(['orders on fast disks']))
    await assert.rejects(site.time.until(admin.rules.remove(['orders on fast disks'])), { code: 'NOT_FOUND' })
    await site.close()
  })

  test('a zone that a table is filed under brings its rules along', async () => {
    const site = await Site.open()
    const { admin } = site.cluster.client
    const { tableId } = await site.table('orders', 3)
    await site.time.until(
      admin.rules.set({
        rules: [
          {
            id: 'gold',
            scope: { type: 'zone', zone: 'gold' },
            require: [{ match: [{ label: 'disk', in: ['ssd'] }] }],
          },
        ],
        tables: [{ tableId, zone: 'gold' }],
      }),
    )
    await site.time.advance(30_000)
    assert.deepEqual([...site.ranges.nodesOf(1)].sort(), ['db1', 'db2', 'db3'])
    await site.time.until(admin.rules.set({ tables: [{ tableId }] }))
    assert.deepEqual((await site.time.until(admin.rules.list())).tables, [])
    await site.close()
  })

  test('a table has as many replicas as it was created with, for good, until a rule says otherwise', async () => {
    const site = await Site.open()
    const { admin } = site.cluster.client
    await site.table('orders', 5, [10])
    const { tableId } = await site.table('rows', 1)
    await site.time.advance(30_000)
    const counts = (): number[] => [...site.ranges.ranges.values()].map(({ replicas }) => replicas.length)
    assert.deepEqual(counts(), [5, 5, 1])
    assert.deepEqual(site.cluster.leader().duties?.placement.moves(), [])
    const rule = { id: `replicas-of-table-${tableId}`, scope: { type: 'table', tableId }, voters: 3 } as const
    await site.time.until(admin.rules.set({ rules: [rule] }))
    await site.time.advance(30_000)
    assert.deepEqual(counts(), [5, 5, 3])
    await site.close()
  })

  test('more replicas than another rule can bear are refused before there is a table', async () => {
    const rules = new RuleBook({
      rules: [
        {
          id: 'two on fast disks',
          scope: { type: 'cluster' },
          require: [{ match: [{ label: 'disk', in: ['ssd'] }], count: 2 }],
        },
      ],
    })
    const site = await Site.open({ policy: { rules } })
    await site.time.advance(2_000)
    await assert.rejects(
      site.table('orders', 1),
      (error: KeelsonError) => error.details['rule'] !== undefined,
    )
    assert.equal(await site.time.until(site.cluster.client.admin.catalog.byName('orders')), undefined)
    await site.close()
  })

  test('a new table costs no look at the ranges of others, other rules do', async () => {
    const site = await Site.open()
    const { admin } = site.cluster.client
    await site.table('orders', 3)
    await site.time.advance(2_000)
    const { rules } = site.cluster.leader().duties as LeaderDuties
    const before = rules.current()?.planning
    const { tableId } = await site.table('rows', 5)
    await site.time.advance(2_000)
    assert.equal(rules.current()?.voters.get(tableId), 5)
    assert.equal(rules.current()?.planning, before)
    await site.time.until(
      admin.rules.set({ rules: [{ id: 'all', scope: { type: 'cluster' }, spread: ['zone'] }] }),
    )
    await site.time.advance(2_000)
    assert.notEqual(rules.current()?.planning, before)
    await site.close()
  })

  test('the next leader has the rules, those that the first one was opened with among them', async () => {
    const rules = new RuleBook({
      rules: [{ id: 'opened', scope: { type: 'cluster' }, spread: ['zone'] }],
    })
    const site = await Site.open({ policy: { rules } }, { servers: 3 })
    const { admin } = site.cluster.client
    await site.table('orders', 5)
    const before = site.cluster.leader()
    await site.time.until(before.close())
    await site.time.untilTrue('another one leads', () =>
      site.cluster.servers.some(
        (server) => server !== before && server.duties?.rules.current() !== undefined,
      ),
    )
    const duties = site.cluster.servers.find((server) => server.duties !== undefined)?.duties
    assert.deepEqual([...(duties?.rules.current()?.book.rules.keys() ?? [])].sort(), [
      'opened',
      'replicas-of-table-1',
    ])
    const explained = duties?.placement.explain(1).replicas.flatMap(({ goals }) => goals) ?? []
    assert.ok(
      explained.some((line) =>
        line.startsWith("rules(spread 1): to spread over zone (rule 'opened'): the range"),
      ),
      explained.join('\n'),
    )
    // What was taken away does not come back with the next leader.
    await site.time.until(admin.rules.remove(['opened']))
    await site.time.advance(20_000)
    assert.equal(site.ranges.ranges.get(1)?.replicas.length, 5)
    await site.close()
  })

  test('the rules that the documentation prints hold in a real cluster', async () => {
    const page = readFileSync(new URL('../../../docs/placement.md', import.meta.url), 'utf8')
    const [, printed] = /```ts\n(const \{ admin \} = client[^`]+)```/.exec(page) ?? []
    assert.ok(printed !== undefined, 'the example is there')
    const zones = ['', 'eu-1', 'eu-1', 'eu-2', 'eu-2', 'us-1', 'us-1', 'us-2', 'us-2']
    const site = await Site.open(
      {},
      {
        nodes: 8,
        describeNode: (number) => ({
          locality: `region=${zones[number]?.slice(0, 2)},zone=${zones[number]}`,
          labels: { disk: number === 8 ? 'tape' : 'ssd' },
        }),
      },
    )
    const columns = [{ name: 'id', valueType: 'number', required: true }]
    const orders = { name: 'orders', columns, primaryKey: ['id'] }
    const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
      ...parts: string[]
    ) => (client: unknown, orders: unknown) => Promise<void>
    await site.time.until(new AsyncFunction('client', 'orders', printed)(site.cluster.client, orders))
    await site.time.advance(60_000)
    const [range] = [...site.ranges.ranges.values()]
    const zoneOf = (nodeId: string): string => zones[Number(nodeId.slice(2))] as string
    const of = (role: string): string[] =>
      (range?.replicas ?? []).filter((each) => each.role === role).map(({ nodeId }) => nodeId)
    assert.equal(of('voter').length, 5)
    assert.ok(of('voter').filter((nodeId) => zoneOf(nodeId).startsWith('eu')).length >= 2)
    assert.deepEqual(
      of('learner').map((nodeId) => zoneOf(nodeId).slice(0, 2)),
      ['us'],
    )
    assert.equal(zoneOf(site.ranges.nodesOf(range?.rangeId ?? 0)[0] as string), 'eu-1')
    assert.ok(!(range?.replicas ?? []).some(({ nodeId }) => nodeId === 'db8'))
    await site.close()
  })
})
