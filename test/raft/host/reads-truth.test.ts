import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { between, chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import { isolate, oneWay } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']
const clockDriftBound = 0.1

/** What was served in one run, by kind, and what was too old. */
interface Served {
  readonly counts: Map<string, number>
  readonly stale: string[]
}

/**
 * One counter that grows by commands from everywhere, and reads of all nodes by lease, while clocks run as fast and as slow
 * as the bound allows and leases are longer than elections take.
 */
async function survive(seed: number): Promise<Served> {
  const cluster = new Cluster({
    seed,
    host: { forwardProposals: true },
    raft: {
      electionTimeoutMs: 120,
      heartbeatIntervalMs: 30,
      preVote: seed % 2 === 0,
      checkQuorum: seed % 3 === 0,
      leaseMs: 400,
      clockDriftBound,
    },
    limits: { forwardTimeoutMs: 300, lostLeadershipGraceMs: 60 },
  })
  const counts = new Map<string, number>()
  const stale: string[] = []
  await cluster.run(async () => {
    await cluster.bootstrap(names)
    await cluster.leader()
    const random = cluster.simulation.random('calls')
    /** The largest value that anybody was told. */
    let acknowledged = 0
    let over = false
    const write = (): void => {
      const node = cluster.node(pick(random, names))
      if (node.process.state !== 'running') return
      const call = node.host.groups().get(1)?.propose(utf8('a+1'))
      call?.then(
        (result) => (acknowledged = Math.max(acknowledged, Number(text(result)))),
        () => {},
      )
    }
    const read = (): void => {
      const node = cluster.node(pick(random, names))
      const group = node.process.state === 'running' ? node.host.groups().get(1) : undefined
      const machine = node.machines.get(1)
      if (group === undefined || machine === undefined) return
      const { life } = node.process
      const least = acknowledged
      const leads = group.status().role === 'leader'
      const calledMs = cluster.simulation.nowMs
      group.read({ from: 'any', readMode: 'lease' }).then(
        () => {
          if (node.process.life !== life) return
          const value = machine.values.get('a') ?? 0
          const atOnce = cluster.simulation.nowMs === calledMs
          const kind = `${leads ? 'leader' : 'follower'}${atOnce ? ', at once' : ''}`
          counts.set(kind, (counts.get(kind) ?? 0) + 1)
          if (value < least) stale.push(`seed ${seed}: ${kind} ${node.name} read ${value} after ${least}`)
        },
        () => {},
      )
    }
    const calls = (async () => {
      while (!over) {
        if (chance(random, 0.4)) write()
        read()
        await cluster.sleep(between(random, 0.2, 8))
      }
    })()
    await torment(cluster, 16)
    over = true
    await calls
    await cluster.propose('a+1')
    await cluster.converged(names)
  })
  return { counts, stale }
}

async function torment(cluster: Cluster, rounds: number): Promise<void> {
  const random = cluster.simulation.random('torment')
  for (let round = 0; round < rounds; round++) {
    const leader = cluster.serving() ?? cluster.node(pick(random, names))
    strayClocks(cluster, leader, random)
    const others = [...cluster.nodes.values()].filter((node) => node !== leader)
    const kind = random.integer(6)
    const lasts = between(random, 100, 1_500)
    if (kind === 0) {
      // It is heard by nobody, hears nobody, or both, and its callers still reach it.
      const rest = others.map(({ name }) => name)
      const links = pick(random, [
        isolate(leader.name, names),
        oneWay([leader.name], rest),
        oneWay(rest, [leader.name]),
      ])
      const heal = cluster.conditions.partition(links)
      await cluster.sleep(lasts)
      heal()
    } else if (kind === 1 || kind === 2) {
      leader.process.pause({ suspend: kind === 1 })
      await cluster.sleep(lasts)
      const heal = chance(random, 0.7) ? cluster.conditions.partition(isolate(leader.name, names)) : undefined
      leader.process.resume()
      await cluster.sleep(lasts / 4)
      heal?.()
    } else if (kind === 3) {
      // Who has pledged itself forgets it.
      const heal = cluster.conditions.partition(isolate(leader.name, names))
      for (const node of others) node.crash(chance(random, 0.5) ? 'kill' : 'power')
      await cluster.sleep(between(random, 1, 40))
      for (const node of others) await node.restart()
      await cluster.sleep(lasts)
      heal()
    } else if (kind === 4) {
      const to = pick(random, others).group().status().replicaId
      leader
        .group()
        .transferLeadership(to)
        .catch(() => {})
      await cluster.sleep(between(random, 0, 3))
      const heal = cluster.conditions.partition(isolate(leader.name, names))
      await cluster.sleep(lasts)
      heal()
    } else {
      leader.process.jumpWallClock(between(random, -5_000, 2_000))
      cluster.network.breakConnections(leader.name)
      const heal = chance(random, 0.7) ? cluster.conditions.partition(isolate(leader.name, names)) : undefined
      await cluster.sleep(lasts)
      heal?.()
    }
    await cluster.sleep(between(random, 50, 400))
  }
}

/** The leader's clock is slow, those of the others are fast: the worst that the bound allows. */
function strayClocks(cluster: Cluster, leader: ClusterNode, random: SeededRandom): void {
  for (const node of cluster.nodes.values()) {
    const rate = node === leader ? 1 - clockDriftBound : 1 + clockDriftBound
    node.process.setClockRate(chance(random, 0.8) ? rate : between(random, 0.9, 1.1))
  }
}

suite('reads by lease', () => {
  test('never miss what was acknowledged, whatever happens to leaders and clocks', async () => {
    const stale: string[] = []
    const sums = new Map<string, number>()
    for (let seed = 1; seed <= 9; seed++) {
      const served = await survive(seed)
      stale.push(...served.stale)
      for (const [kind, count] of served.counts) sums.set(kind, (sums.get(kind) ?? 0) + count)
    }
    assert.deepEqual(stale, [])
    for (const kind of ['leader', 'leader, at once', 'follower']) {
      assert.ok((sums.get(kind) ?? 0) > 50, `${kind}: ${sums.get(kind)}`)
    }
  })
})
