import { KeelsonError } from '../../../src/core/errors.ts'
import { pick } from '../../../src/core/random.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import { votesInIncoming } from '../../../src/model/replica-roles.ts'
import { replicaOf } from '../../../src/raft/core/configuration.ts'
import type { RaftMember } from '../../../src/raft/core/membership-types.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import { drawSwarm, FaultInjector } from '../../../src/simulation/faults.ts'
import { checkLinearizability } from '../../../src/simulation/linearizability.ts'
import { counterModel, mapModel } from '../../../src/simulation/sequential-models.ts'
import { disturbance, type Leading } from '../support/stable-leader.ts'
import { allFaultKinds } from './fault-kinds.ts'
import { loseQuorum, mayLoseQuorum, recoverFromLostQuorum } from './lost-quorum.ts'
import type { Node } from './node.ts'
import { Operator } from './operator.ts'
import { halvesOf, World, type WorldOptions } from './world.ts'

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
    play(world)
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

function play(world: World): void {
  const { simulation, settings } = world
  const random = simulation.random('plan')
  // Few kinds of faults leave room for a run to get somewhere; many make it stumble.
  const probability = pick(random, [0.08, 0.2, 0.5])
  const kinds = allFaultKinds(world)
  const stressed = kinds
    .filter(({ name }) => settings.emphasis.includes(name))
    .map((kind) => ({ ...kind, meanIntervalMs: kind.meanIntervalMs / 3 }))
  const others = kinds.filter(({ name }) => !settings.emphasis.includes(name))
  const injector = new FaultInjector(simulation, [...drawSwarm(random, others, { probability }), ...stressed])
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
  world.run(settings.faultPhaseMs)

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
  if (random.float() < 0.4) world.buryMinority(random)
  recover(world)
}

/** Everything heals, so within a bound all calls are answered and all members have everything. */
function recover(world: World): void {
  const { settings } = world
  for (const client of world.clients) client.stopped = true
  let waiting = 0
  let asked = false
  const served = (): boolean => {
    if (!world.clients.every((client) => client.idle)) return false
    if (!asked) {
      asked = true
      for (const [i, client] of world.clients.entries()) {
        const key = i % settings.keys
        waiting++
        client.finish('write', key, () => {
          client.finish('read', key, () => waiting--)
        })
      }
      return false
    }
    return waiting === 0 && converged(world)
  }
  const from = world.nowMs
  const result = world.run(from + settings.recoveryMs, served)
  if (result.reason !== 'stopped') {
    const leader = world.leader()
    const open = world.clients.filter((client) => !client.idle).map((client) => client.name)
    const states = [...world.nodes.values()].map((node) => {
      const { core } = node
      return core === undefined
        ? `${node.name} empty`
        : `${node.name} r${core.replicaId} ${core.role} t${core.term} commit ${core.commitIndex} applied ${node.machine.applied.index} last ${core.lastIndex}`
    })
    world.broken(
      `nothing was served ${settings.recoveryMs} ms after the faults had ended; leader ${leader?.name ?? 'none'}, clients that wait: ${open.join(' ') || 'none'}, unanswered: ${waiting}\n${states.join('\n')}`,
      'liveness',
    )
  }
  // A healthy group stays as it is: nobody disturbs its leader, removed replicas that still run included.
  const before = leading(world)
  world.run(world.nowMs + 2_000)
  stallFollower(world)
  world.run(world.nowMs + 2_000)
  const problem = disturbance(before, leading(world), world.leader()?.core?.configuration)
  if (problem !== undefined) world.broken(`an election in a healthy group: ${problem}`, 'stable leader')
}

function leading(world: World): Leading {
  const { replicaId = 0, term = 0 } = world.leader()?.core ?? {}
  const handOvers = world.counts.get('transfer done') ?? 0
  return { replicaId, term, elections: world.elections, handOvers }
}

/**
 * A follower's event loop stands still for longer than an election timeout. When it goes on, the leader's heartbeats wait,
 * so there is nothing to campaign for. Only where the others are a majority without it.
 */
function stallFollower(world: World): void {
  const leader = world.leader()
  const halves = halvesOf(leader?.core?.configuration)
  const upNode = (voter: ReplicaDescriptor): Node | undefined => {
    const node = world.nodeOf(voter)
    return node?.core !== undefined && !node.core.quarantined ? node : undefined
  }
  const follower = halves
    .flat()
    .map(upNode)
    .find((node) => node !== undefined && node !== leader)
  if (follower === undefined) return
  const remains = (voter: ReplicaDescriptor): boolean =>
    voter.nodeId !== follower.name && upNode(voter) !== undefined
  if (halves.some((half) => half.filter(remains).length * 2 <= half.length)) return
  world.fault('stall in a healthy group')
  follower.process.pause()
  world.run(world.nowMs + 3 * (world.settings.raft.electionTimeoutMs ?? 300))
  follower.process.resume()
}

/** The leader has nothing left to do by itself: no joint configuration to leave, nobody to promote, nobody to yield to. */
function settled(world: World, { configuration, replicaId }: RaftCore): boolean {
  const { replicas = [], joint } = configuration ?? {}
  if (joint?.autoLeave === true) return false
  const isThere = (replica: RaftMember): boolean => {
    const core = world.nodeOf(replica)?.core
    return core !== undefined && !core.quarantined && !world.lost.has(replica.replicaId)
  }
  if (joint === undefined && replicas.some((replica) => replica.autoPromote === true && isThere(replica)))
    return false
  const own = replicaOf(configuration, replicaId)?.priority ?? 0
  return !replicas.some(
    (replica) => votesInIncoming(replica) && (replica.priority ?? 0) > own && isThere(replica),
  )
}

/** All live members of the leader's configuration have applied all that is committed. */
function converged(world: World): boolean {
  const leader = world.leader()
  const core = leader?.core
  if (core === undefined || core.appliedIndex < core.lastIndex) return false
  if (!settled(world, core)) return false
  return (core.configuration?.replicas ?? []).every((replica) => {
    if (world.lost.has(replica.replicaId) && !world.forgetful.has(replica.replicaId)) return true
    if ([...world.dead].some(({ name }) => name === replica.nodeId)) return true
    if (world.nodes.get(replica.nodeId)?.buried(replica.replicaId) === true) return true
    const node = world.nodeOf(replica)
    if (node?.core?.quarantined === true) return true
    return node !== undefined && node.machine.applied.index === core.appliedIndex
  })
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
