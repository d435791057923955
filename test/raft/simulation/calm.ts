import { chance, pick } from '../../../src/core/random.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import { votesInIncoming } from '../../../src/model/replica-roles.ts'
import { replicaOf } from '../../../src/raft/core/configuration.ts'
import type { RaftMember } from '../../../src/raft/core/membership-types.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { disturbance, type Leading } from '../support/stable-leader.ts'
import type { Node } from './node.ts'
import { halvesOf, type World } from './world.ts'

/** Everything heals, so within a bound all calls are answered and all members have everything. */
export function recover(world: World): void {
  serve(world, 'the faults had ended', () => converged(world))
  judgeHealth(world)
}

/** Within a bound after `since` the open calls are answered, then a write and a read of each client, and `settled` says yes. */
export function serve(world: World, since: string, settled: () => boolean): void {
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
    return waiting === 0 && settled()
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
      `nothing was served ${settings.recoveryMs} ms after ${since}; leader ${leader?.name ?? 'none'}, clients that wait: ${open.join(' ') || 'none'}, unanswered: ${waiting}\n${states.join('\n')}`,
      'liveness',
    )
  }
}

/** A healthy group stays as it is: nobody disturbs its leader, removed replicas that still run included. */
function judgeHealth(world: World): void {
  const before = leading(world)
  world.run(world.nowMs + 2_000)
  stallFollower(world)
  world.run(world.nowMs + 2_000)
  removeUnheard(world)
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

/**
 * In some runs a follower is removed while it hears nothing. When it is back it knows of nothing, and asks all for their votes by
 * the configuration that it has. Those to whom it speaks rest by then, and know that their leader is there.
 */
function removeUnheard(world: World): void {
  const random = world.simulation.random('removed in a healthy group')
  const leader = world.leader()
  const { configuration } = leader?.core ?? {}
  if (!chance(random, 0.5) || leader?.core === undefined || configuration === undefined) return
  const nodes = configuration.replicas.map((replica) => world.nodeOf(replica))
  // Nobody else is missed, so that whatever happens is its doing.
  const isWell = nodes.every((node) => node?.core?.isVoter() === true && !node.core.quarantined)
  if (!isWell || nodes.length < 4 || configuration.joint !== undefined) return
  const follower = pick(
    random,
    nodes.filter((node): node is Node => node !== undefined && node !== leader),
  )
  const replicaId = follower.core?.replicaId ?? 0
  if (!leader.core.changeMembership({ type: 'remove', replicaId }, {}, leader.nowMs).accepted) return
  world.fault('removed while it hears nothing')
  leader.input('asked to remove', follower.name, 'which hears nothing')
  leader.changed()
  const heal = world.conditions.partition(isolate(follower.name, world.names))
  world.run(world.nowMs + 2_000)
  heal()
  world.run(world.nowMs + 2_000)
}

/** The leader has nothing left to do by itself: no joint configuration to leave, nobody to promote, nobody to yield to. */
function hasNothingLeft(world: World, { configuration, replicaId }: RaftCore): boolean {
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
  if (!hasNothingLeft(world, core)) return false
  return (core.configuration?.replicas ?? []).every((replica) => {
    if (world.lost.has(replica.replicaId) && !world.forgetful.has(replica.replicaId)) return true
    if ([...world.dead].some(({ name }) => name === replica.nodeId)) return true
    if (world.nodes.get(replica.nodeId)?.buried(replica.replicaId) === true) return true
    const node = world.nodeOf(replica)
    if (node?.core?.quarantined === true) return true
    return node !== undefined && node.machine.applied.index === core.appliedIndex
  })
}
