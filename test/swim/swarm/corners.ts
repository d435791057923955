import { SeededRandom } from '../../../src/core/random.ts'
import type { SwimEvent } from '../../../src/swim/core/types.ts'
import type { ScenarioOptions } from './scenario.ts'
import { Swarm, type SwarmOptions } from './swarm.ts'

/**
 * Corners into which random runs come too seldom: each is a small cluster in which one thing goes wrong that one rule is for, and the
 * invariant that the rule keeps.
 */
export const corners: Readonly<Record<string, (options: ScenarioOptions) => void>> = {
  'who does not hear knows that it is unwell, and who is well knows that too': (options) => {
    const swarm = formed(16, options, { tuning: { expelRefutations: 0 } })
    swarm.invariants.healthy = false
    swarm.network.incomingLoss.set(swarm.process('n5').index, 0.8)
    swarm.run(60_000)
    const score = swarm.core('n5').localHealth
    swarm.invariants.demand(
      score > 0,
      'the unwell distrust themselves',
      'n5',
      'hears little and trusts itself',
    )
    swarm.network.heal()
    swarm.run(60_000)
    for (const core of swarm.runningCores()) {
      const { nodeId } = core.self
      const well = core.localHealth === 0
      swarm.invariants.demand(well, 'the well trust themselves', nodeId, `has the score ${core.localHealth}`)
    }
  },

  'helpers that answer speak for whoever asked them': (options) => {
    const swarm = formed(12, options)
    swarm.crash('n7')
    let worst = 0
    for (let i = 0; i < 200; i++) {
      swarm.run(100)
      for (const core of swarm.runningCores()) worst = Math.max(worst, core.localHealth)
    }
    swarm.invariants.demand(worst === 0, 'the well trust themselves', 'somebody', `had the score ${worst}`)
  },

  'confirmations shorten a suspicion': (options) => {
    const swarm = formed(32, options)
    swarm.crash('n9')
    swarm.run(24_000)
    const found = swarm.runningCores().filter((core) => core.member('n9')?.state === 'dead').length
    swarm.invariants.demand(
      found > 0,
      'every crash is detected in time',
      'everybody',
      'holds n9 alive for 24 s',
    )
  },

  'who is reached through others is not suspected': (options) => {
    const seen: SwimEvent[] = []
    const swarm = formed(8, options, { onEvent: (event) => seen.push(event) })
    const indexOf = (nodeId: string): number => swarm.process(nodeId).index
    for (const other of ['n1', 'n3']) {
      swarm.network.loseLink(indexOf(other), indexOf('n2'), 1)
      swarm.network.loseLink(indexOf('n2'), indexOf(other), 1)
    }
    seen.length = 0
    swarm.run(60_000)
    const suspected = seen.find(({ type }) => type === 'suspected')
    swarm.invariants.demand(
      suspected === undefined,
      'who is reached through others is not suspected',
      suspected?.accusedBy[0] ?? '',
      `suspected ${suspected?.member.nodeId}`,
    )
  },

  'to become one cluster again declares nobody dead': (options) => {
    const seen: SwimEvent[] = []
    const admitsNow = { open: true }
    const admit = (): string | undefined => (admitsNow.open ? undefined : 'the token has expired')
    const swarm = formed(12, options, { core: { admit }, onEvent: (event) => seen.push(event) })
    admitsNow.open = false
    swarm.invariants.healthy = false
    const all = [...swarm.processes()].map(({ index }) => index)
    swarm.network.partition(all.slice(0, 5), all.slice(5))
    swarm.run(120_000)
    swarm.network.heal()
    seen.length = 0
    const tookMs = swarm.runUntil(() => isComplete(swarm, 12), 180_000, 500)
    swarm.invariants.demand(tookMs !== undefined, 'partitions heal', 'everybody', 'is still in halves')
    swarm.run(60_000)
    const failed = seen.find(({ type }) => type === 'failed')
    swarm.invariants.demand(
      failed === undefined,
      'to heal declares nobody dead',
      failed?.accusedBy[0] ?? '',
      `declared ${failed?.member.nodeId} dead, which is up`,
    )
  },

  'who cannot be reached is expelled': (options) => {
    const swarm = formed(24, options)
    swarm.invariants.healthy = false
    swarm.network.incomingLoss.set(swarm.process('n5').index, 0.8)
    swarm.invariants.setUnreliable('n5', true)
    const tookMs = swarm.runUntil(() => swarm.core('n5').expelled, 180_000, 500)
    swarm.invariants.demand(tookMs !== undefined, 'the unreachable are expelled', 'everybody', 'keeps n5')
  },

  'who starts again in an earlier release comes back': (options) => {
    const swarm = formed(6, options)
    swarm.crash('n3')
    swarm.run(40_000)
    // It cannot prove that it asks now, and those who held its last life dead tell it no more than that.
    swarm.start('n3', [swarm.process('n0').address], { core: { protocols: { minimum: 2, maximum: 2 } } })
    swarm.run(40_000)
    const back = swarm.allHold('n3', 'alive')
    swarm.invariants.demand(back, 'who comes back hears what it said before', 'n3', 'is told nothing')
  },

  'who tells something after it was told something says so': (options) => {
    const swarm = formed(4, options)
    for (let i = 0; i < 3; i++)
      swarm.input('n1', (core, nowMs) => core.tell('first', new Uint8Array([i]), nowMs))
    swarm.run(5_000)
    // Judged with every delivery.
    swarm.input('n2', (core, nowMs) => core.tell('then', new Uint8Array(1), nowMs))
    swarm.run(5_000)
  },

  'who was removed stays out': (options) => {
    const swarm = formed(6, options, { tuning: { tombstoneMs: 20_000 } })
    const lives = new Map(swarm.nodeIds.map((nodeId) => [nodeId, swarm.core(nodeId).self.incarnation]))
    const seeds = [swarm.process('n0').address]
    swarm.input('n1', (core, nowMs) => core.remove('n4', nowMs))
    swarm.invariants.setFate('n4', 'removed')
    swarm.run(10_000)
    const snapshots = new Map(swarm.nodeIds.map((nodeId) => [nodeId, swarm.core(nodeId).snapshot()]))
    const isOut = (when: string): void => {
      for (const core of swarm.runningCores()) {
        const member = core.member('n4')
        const alive = member?.state === 'alive' && core.self.nodeId !== 'n4'
        swarm.invariants.demand(
          !alive,
          'who was removed stays away',
          core.self.nodeId,
          `holds n4 alive ${when}`,
        )
      }
    }
    swarm.crash('n4')
    swarm.run(60_000)
    swarm.start('n4', seeds, { incarnation: lives.get('n4') })
    swarm.invariants.setFate('n4', 'removed')
    swarm.run(10_000)
    isOut('when tombstones are forgotten')
    for (const nodeId of swarm.nodeIds) swarm.crash(nodeId)
    // It has lost its own: only the others remember.
    for (const nodeId of swarm.nodeIds) {
      const { address } = swarm.process(nodeId)
      const snapshot = nodeId === 'n4' ? undefined : snapshots.get(nodeId)
      swarm.start(nodeId, seeds, { address, incarnation: lives.get(nodeId), snapshot })
    }
    swarm.invariants.setFate('n4', 'removed')
    swarm.run(20_000)
    isOut('after a restart of all')
    const five = swarm.runningCores().filter(({ self }) => self.nodeId !== 'n4')
    const whole = five.every(({ membership }) => membership.table.live === 5)
    swarm.invariants.demand(
      whole,
      'views are equal after quiet',
      'somebody',
      'misses members after a restart of all',
    )
  },

  'of whom a host keeps out nothing is heard': (options) => {
    const veto = ({ nodeId }: { readonly nodeId: string }): string | undefined =>
      nodeId.startsWith('x') ? 'of another cluster' : undefined
    const swarm = new Swarm({ seed: options.seed, alter: options.alter, decodeEvery: 4 })
    swarm.start('n0', [], { core: { veto } })
    const { address } = swarm.process('n0')
    for (let i = 1; i < 5; i++) swarm.start(`n${i}`, [address], { core: { veto } })
    swarm.run(10_000)
    const told: string[] = []
    for (const core of swarm.runningCores()) {
      const { onEvent } = core.rumours
      core.rumours.onEvent = (event, nowMs) => {
        onEvent.call(core.rumours, event, nowMs)
        for (const { kind, ...delivery } of core.rumours.deliveries)
          if (kind === 'event' && 'origin' in delivery) told.push(delivery.origin)
      }
    }
    swarm.start('x0', [address])
    for (let i = 1; i < 4; i++) swarm.start(`x${i}`, [swarm.process('x0').address])
    // Each side looks for the other.
    swarm.input('n2', (core, nowMs) => core.join([swarm.process('x1').address], nowMs))
    swarm.run(20_000)
    swarm.input('x0', (core, nowMs) => core.tell('news', new Uint8Array(1), nowMs))
    swarm.input('x0', (core, nowMs) => core.remove('n1', nowMs))
    swarm.run(60_000)
    const [mixed = ''] = swarm.runningCores().flatMap(({ self, membership }) =>
      Array.from(membership.table.entries(), ({ member }) => member)
        .filter(({ nodeId, state }) => state === 'alive' && nodeId[0] !== self.nodeId[0])
        .map(({ nodeId }) => `${self.nodeId} holds ${nodeId}`),
    )
    swarm.invariants.demand(mixed === '', 'a veto keeps clusters apart', mixed, 'of the other cluster alive')
    const heard = told.filter((origin) => origin.startsWith('x')).length
    swarm.invariants.demand(
      heard === 0,
      'a veto keeps clusters apart',
      'somebody',
      'was told things by the other one',
    )
    const whole = swarm.core('n0').membership.table.live === 5
    swarm.invariants.demand(whole, 'a veto keeps clusters apart', 'n0', 'lost a member to the other cluster')
  },

  'a question is not asked when its asker has given up': (options) => {
    const swarm = formed(4, options)
    swarm.input('n1', (core, nowMs) => core.ask('drop', new Uint8Array(1), nowMs, 2_000))
    swarm.run(5_000)
    const asked: string[] = []
    const late = swarm.start('late', [swarm.process('n0').address])
    const { onQuery } = late.rumours
    late.rumours.onQuery = (query, nowMs) => {
      const before = late.rumours.deliveries.length
      onQuery.call(late.rumours, query, nowMs)
      if (late.rumours.deliveries.length > before) asked.push(query.name)
    }
    swarm.run(30_000)
    swarm.invariants.demand(asked.length === 0, 'nobody answers in vain', 'late', 'is asked long after')
  },

  'nobody is declared dead for loss and short pauses': (options) => {
    const seen: SwimEvent[] = []
    const swarm = formed(24, options, { onEvent: (event) => seen.push(event) })
    const random = new SeededRandom(options.seed)
    swarm.invariants.healthy = false
    swarm.network.faults.loss = 0.1
    seen.length = 0
    for (let i = 0; i < 24; i++) {
      swarm.pause(`n${random.integer(24)}`, 1_500)
      swarm.run(10_000)
    }
    const failed = seen.filter(({ type }) => type === 'failed').length
    swarm.invariants.demand(
      failed === 0,
      'no false death beyond the published rate',
      'somebody',
      `${failed} died who are up`,
    )
  },
}

/** All corners, one after the other; the first one that breaks ends it. */
export function runCorners(options: ScenarioOptions): void {
  for (const run of Object.values(corners)) run(options)
}

/** One corner. */
export function runCorner(name: string): (options: ScenarioOptions) => void {
  return (options) => corners[name]?.(options)
}

/** A cluster in which everybody knows everybody and nothing moves any more. */
function formed(size: number, { seed, alter }: ScenarioOptions, more: Partial<SwarmOptions> = {}): Swarm {
  const swarm = new Swarm({ ...more, seed, alter, decodeEvery: 4 })
  swarm.startMany(size)
  swarm.run(3_000)
  const complete = swarm.runUntil(() => isComplete(swarm, size), 120_000, 500) !== undefined
  swarm.invariants.demand(complete, 'views are equal after quiet', 'somebody', 'never gets to know all')
  swarm.run(8_000)
  return swarm
}

function isComplete(swarm: Swarm, size: number): boolean {
  return swarm.runningCores().every((core) => core.membership.table.live === size)
}
