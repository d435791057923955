import { KeelsonError } from '../../../src/core/errors.ts'
import { pick } from '../../../src/core/random.ts'
import { replicaOf } from '../../../src/raft/core/configuration.ts'
import { drawSwarm, FaultInjector } from '../../../src/simulation/faults.ts'
import { checkLinearizability } from '../../../src/simulation/linearizability.ts'
import { counterModel, mapModel } from '../../../src/simulation/sequential-models.ts'
import { recover } from './calm.ts'
import { allFaultKinds } from './fault-kinds.ts'
import { loseQuorum, mayLoseQuorum, recoverFromLostQuorum } from './lost-quorum.ts'
import { serveInMajority } from './majority.ts'
import { Operator } from './operator.ts'
import { World, type WorldOptions } from './world.ts'

/** What a run did. */
export interface RunReport {
  readonly seed: number
  /** Undefined when everything held. */
  readonly failure: RunFailure | undefined
  readonly hash: string
  readonly events: number
  readonly virtualMs: number
  readonly elections: number
  readonly commits: number
  readonly calls: number
  readonly unknown: number
  readonly faults: readonly [kind: string, count: number][]
  readonly counts: readonly [what: string, count: number][]
}

/** What broke. */
export interface RunFailure {
  /** Name of the invariant, or of the kind of failure. */
  readonly invariant: string
  readonly message: string
  readonly stack: string
  /** The last lines of the trace. */
  readonly trace: readonly string[]
}

/** Runs one seed: faults and load, then calm, in which everything must be served again, then judgement. */
export function runSeed(options: WorldOptions): RunReport {
  let world: World | undefined
  let failure: RunFailure | undefined
  try {
    world = new World(options)
    play(world, options)
    judgeForgetful(world)
    judgeStates(world)
    if (mayLoseQuorum(world)) {
      loseQuorum(world)
      judgeHistory(world)
      recoverFromLostQuorum(world)
      recover(world)
      judgeStates(world)
    }
    judgeHistory(world)
  } catch (error) {
    failure = describe(error, world)
  }
  return {
    seed: options.seed,
    failure,
    hash: world?.simulation.trace.hash() ?? '',
    events: world?.simulation.scheduler.events ?? 0,
    virtualMs: world?.nowMs ?? 0,
    elections: world?.elections ?? 0,
    commits: world?.committedIndex ?? 0,
    calls: world?.clients.reduce((sum, client) => sum + client.completed, 0) ?? 0,
    unknown: world?.clients.reduce((sum, client) => sum + client.unknown, 0) ?? 0,
    faults: world?.simulation.faults.entries() ?? [],
    counts: [...(world?.counts ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)),
  }
}

function play(world: World, { onFault, schedule }: WorldOptions): void {
  const { simulation, settings } = world
  const random = simulation.random('plan')
  // Few kinds of faults leave room for a run to get somewhere; many make it stumble.
  const probability = pick(random, [0.08, 0.2, 0.5])
  const kinds = allFaultKinds(world)
  const stressed = kinds
    .filter(({ name }) => settings.emphasis.includes(name))
    .map((kind) => ({ ...kind, meanIntervalMs: kind.meanIntervalMs / 3 }))
  const others = kinds.filter(({ name }) => !settings.emphasis.includes(name))
  const swarm = [...drawSwarm(random, others, { probability }), ...stressed]
  const injector = new FaultInjector(simulation, swarm, { onFault, schedule: schedule?.faults })
  const operator = new Operator(world, settings.operatorIntervalMs)
  const patrol = (): void => {
    world.checkIsolatedLeaders()
    world.checkLeases()
    simulation.scheduler.schedule(50, patrol)
  }
  for (const client of world.clients) client.start()
  injector.start()
  operator.start()
  patrol()
  world.whenElected(() => operator.elected())
  world.run(schedule?.faultPhaseMs ?? settings.faultPhaseMs)

  simulation.note('world', 'faults end')
  world.calm = true
  injector.stop()
  operator.stop(random.float() < 0.5)
  world.conditions.heal()
  for (const node of world.nodes.values()) {
    node.disk.setQuality({ slowProbability: 0, syncFailureProbability: 0, readFailureProbability: 0 })
    node.process.resume()
    world.restart(node)
  }
  serveInMajority(world)
  if (random.float() < 0.4) world.buryMinority(random)
  recover(world)
}

/** A disk that has less than others have heard of is found out, and its replica takes part in nothing. */
function judgeForgetful(world: World): void {
  for (const { name, core, record, recoveryGeneration } of world.live()) {
    if (core === undefined || recoveryGeneration > 0 || !world.toldOf.has(record?.replicaId ?? 0)) continue
    if (!core.quarantined)
      world.broken(`${name} does not know that its disk forgot`, 'forgetful disks are found out')
  }
}

function judgeStates(world: World): void {
  const leader = world.leader()
  const expected = leader?.machine.encode()
  for (const node of world.live()) {
    if (node.machine.applied.index !== leader?.machine.applied.index) continue
    const member = replicaOf(leader.core?.configuration, node.core?.replicaId ?? 0)
    if (member?.nodeId !== node.name || expected === undefined) continue
    if (Buffer.compare(node.machine.encode(), expected) !== 0) {
      world.broken(`${node.name} and ${leader.name} differ in the end`, 'states are equal')
    }
  }
}

function judgeHistory(world: World): void {
  for (const client of world.clients) client.abandon()
  const { map, counters } = world.history
  // Nearly all are decided at once; the few hard ones may take seconds.
  const maximumSteps = 4_000_000
  const verdicts = [
    checkLinearizability(mapModel, map, { maximumSteps }),
    checkLinearizability(counterModel, counters, { maximumSteps }),
  ]
  for (const verdict of verdicts) {
    if (verdict.result === 'undecided') world.count('linearizability undecided')
    if (verdict.result !== 'broken') continue
    const stuck = (verdict.stuck ?? []).map((operation) => JSON.stringify(operation)).join('\n')
    world.broken(`the operations on ${verdict.part} have no order; stuck at\n${stuck}`, 'linearizability')
  }
}

function describe(error: unknown, world: World | undefined): RunFailure {
  const known = KeelsonError.is(error) ? error : undefined
  const invariant = known?.details.invariant
  return {
    invariant: typeof invariant === 'string' ? invariant : (known?.code ?? 'exception'),
    message: error instanceof Error ? error.message : String(error),
    stack: error instanceof Error ? String(error.stack) : '',
    trace: world?.simulation.trace.lines() ?? [],
  }
}
