import { chance, pick, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { FaultKind } from '../../../src/simulation/faults.ts'
import type { BlockedLink } from '../../../src/simulation/partitions.ts'
import type { Node } from './node.ts'
import { spareNodes } from './operator.ts'
import type { World } from './world.ts'

/** What happens to members as they come and go. */
export function memberKinds(world: World): FaultKind[] {
  const timeoutMs = world.settings.raft.electionTimeoutMs ?? 300
  return [
    {
      name: 'halves of a joint configuration cut off from each other',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs, timeoutMs * 12],
      begin: (random) => cutInHalves(world, random),
    },
    {
      name: 'disk wiped',
      meanIntervalMs: 8_000,
      durationMs: [5, timeoutMs * 4],
      begin: (random) => wipe(world, random),
    },
  ]
}

/**
 * A leader is asked to replace most of the other voters at once, and at that moment it can reach only one of the two sets:
 * neither may decide anything without the other. Where there are too few learners to take their places, some are added
 * before, and get a while to catch up.
 */
function cutInHalves(world: World, random: SeededRandom): (() => void) | undefined {
  const leader = world.leader()
  const configuration = leader?.core?.configuration
  if (leader?.core === undefined || configuration === undefined || world.settings.jointShare === 0)
    return undefined
  const learners = configuration.replicas.filter(({ role }) => role === 'learner').length
  const spare = spareNodes(world, configuration, random).slice(0, Math.max(0, 3 - learners))
  const additions = spare.map(
    ({ name, incarnation }) => ({ type: 'addLearner', nodeId: name, incarnation }) as const,
  )
  if (
    leader.process.state !== 'running' ||
    !leader.core.changeMembership(additions, {}, leader.nowMs).accepted
  )
    return swapAndCut(world, random)
  leader.input('asked to add', spare.map(({ name }) => name).join())
  leader.changed()
  let isOver = false
  let heal: (() => void) | undefined
  world.simulation.scheduler.schedule(10 + random.float() * 200, () => {
    if (!isOver) heal = swapAndCut(world, random)
  })
  return () => {
    isOver = true
    heal?.()
  }
}

function swapAndCut(world: World, random: SeededRandom): (() => void) | undefined {
  const leader = world.leader()
  const configuration = leader?.core?.configuration
  if (leader?.core === undefined || configuration === undefined) return undefined
  if (world.lost.size > 0 || leader.process.state !== 'running') return undefined
  const others = shuffled(
    random,
    configuration.replicas.filter(
      ({ role, replicaId }) => role === 'voter' && replicaId !== leader.core?.replicaId,
    ),
  )
  const arriving = configuration.replicas
    .filter(({ role }) => role === 'learner')
    .filter(({ replicaId }) => leader.core?.mayPromote(replicaId) === true)
    .slice(0, Math.max(2, others.length))
  const leaving = others.slice(0, arriving.length)
  const answer = leader.core.changeMembership(
    [
      ...arriving.map(({ replicaId }) => ({ type: 'promote', replicaId }) as const),
      ...leaving.map(({ replicaId }) => ({ type: 'remove', replicaId }) as const),
    ],
    { autoLeave: chance(random, 0.5) },
    leader.nowMs,
  )
  if (!answer.accepted) return undefined
  leader.input('asked to replace', leaving.map(({ nodeId }) => nodeId).join(), 'by', arriving.length)
  leader.changed()
  const side = new Set((chance(random, 0.7) ? leaving : arriving).map(({ nodeId }) => nodeId))
  return world.conditions.partition(
    world.names.flatMap((a) =>
      world.names.filter((b) => side.has(a) !== side.has(b)).map((b): BlockedLink => [a, b]),
    ),
  )
}

/**
 * A voter loses its disk and comes back as another life of its node: to its group it is gone for good. Only while nothing
 * else can cost the quorum: all others hold the same configuration, committed, and no replica was lost before.
 */
function wipe(world: World, random: SeededRandom): (() => void) | undefined {
  const live = world.live()
  const configuration = live[0]?.core?.configuration
  if (configuration === undefined || configuration.replicas.length < 3) return undefined
  if (configuration.replicas.some(({ replicaId }) => world.lost.has(replicaId))) return undefined
  if (configuration.replicas.some(({ role }) => role !== 'voter')) return undefined
  const agreed = configuration.replicas.every((replica) => {
    const state = world.nodeOf(replica)?.core?.configurationState()
    return (
      state?.latest?.generation === configuration.generation &&
      state.committed?.generation === configuration.generation
    )
  })
  if (!agreed) return undefined
  const node = pick(
    random,
    configuration.replicas.map((replica) => world.nodeOf(replica) as Node),
  )
  world.lost.add(node.core?.replicaId ?? 0)
  node.process.crash('power')
  node.wipe()
  return () => world.restart(node)
}
