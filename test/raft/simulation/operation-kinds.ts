import { between, pick, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { FaultKind } from '../../../src/simulation/faults.ts'
import { type BlockedLink, oneWay } from '../../../src/simulation/partitions.ts'
import type { Node } from './node.ts'
import type { World } from './world.ts'

/** What people and machines around a group do to it. */
export function operationKinds(world: World): FaultKind[] {
  const timeoutMs = world.settings.raft.electionTimeoutMs ?? 300
  return [
    {
      name: 'rolling restart',
      meanIntervalMs: 8_000,
      durationMs: [timeoutMs * 4, timeoutMs * 20],
      begin: (random) => rollingRestart(world, random, timeoutMs),
    },
    {
      name: 'all connections closed',
      meanIntervalMs: 3_000,
      durationMs: [0.1, timeoutMs * 0.3],
      begin: () => closeAll(world),
    },
    {
      name: 'changes of two leaders',
      meanIntervalMs: 2_000,
      durationMs: [timeoutMs * 6, timeoutMs * 15],
      begin: (random) => changesOfTwoLeaders(world, random),
    },
  ]
}

/** One node after the other is restarted, at times before the one before has caught up. */
function rollingRestart(world: World, random: SeededRandom, timeoutMs: number): (() => void) | undefined {
  const { scheduler } = world.simulation
  const waiting = shuffled(random, [...world.nodes.values()])
  const pauseMs = between(random, 0.1, 3) * timeoutMs
  let over = false
  const next = (): void => {
    const node = over ? undefined : waiting.pop()
    if (node === undefined) return
    if (node.process.state === 'crashed') return next()
    node.process.crash('kill')
    scheduler.schedule(between(random, 1, timeoutMs * 0.5), () => {
      world.restart(node)
      scheduler.schedule(pauseMs, next)
    })
  }
  next()
  return () => {
    over = true
  }
}

/** A proxy between all nodes ends: what was under way is lost, and all learn that their connections are closed. */
function closeAll(world: World): () => void {
  const links = world.names.flatMap((a) => world.names.map((b): BlockedLink => [a, b]))
  const heal = world.conditions.partition(links.filter(([a, b]) => a !== b))
  for (const node of world.live()) {
    const { core } = node
    if (core === undefined || node.process.state !== 'running') continue
    for (const voter of core.voters()) {
      if (voter === core.replicaId) continue
      core.peerUnreachable(voter, node.nowMs)
      core.peerDown(voter, node.nowMs)
    }
    node.input('all connections closed')
    node.changed()
  }
  return heal
}

/**
 * Ongaro's note of 2015: a leader adds a voter, and only that one hears of it. Its successor removes another voter as its
 * first act, and commits that with one more. The first leader comes back with the rest: each knows of one change, and the
 * majorities of the two have nobody in common, unless the second waited for its first commit.
 */
function changesOfTwoLeaders(world: World, random: SeededRandom): (() => void) | undefined {
  const leader = world.leader()
  const core = leader?.core
  const configuration = core?.configuration
  if (leader === undefined || core === undefined || configuration === undefined) return undefined
  if (leader.process.state !== 'running' || core.voters().length !== 4) return undefined
  const learner = configuration.replicas.find(({ role }) => role === 'learner')
  if (learner === undefined) {
    const spare = [...world.nodes.values()].find(
      (node) =>
        node.running &&
        (node.core?.isEmpty ?? (node.record === undefined || node.record.destroyed)) &&
        configuration.replicas.every(({ nodeId }) => nodeId !== node.name),
    )
    if (spare === undefined) return undefined
    const { name: nodeId, incarnation } = spare
    change(leader, { type: 'addLearner', nodeId, incarnation })
    return () => {}
  }
  if (!change(leader, { type: 'promote', replicaId: learner.replicaId })) return undefined
  const { replicaId } = core
  const oldSide = [leader.name, learner.nodeId]
  const apart = (side: readonly string[]): (() => void) => {
    const others = world.names.filter((name) => !side.includes(name))
    return world.conditions.partition([...oneWay(side, others), ...oneWay(others, side)])
  }
  let heal = apart(oldSide)
  let over = false
  const forget = world.whenElected(() => {
    if (over) return
    const second = world.leader()
    if (second?.core === undefined || second === leader || oldSide.includes(second.name)) return
    over = true
    change(second, { type: 'remove', replicaId })
    const others = world.names.filter((name) => name !== second.name && !oldSide.includes(name))
    heal()
    heal = apart([second.name, pick(random, others)])
  })
  return () => {
    over = true
    forget()
    heal()
  }
}

function change(node: Node, asked: Parameters<NonNullable<Node['core']>['changeMembership']>[0]): boolean {
  const answer = node.core?.changeMembership(asked, {}, node.nowMs)
  if (answer?.accepted !== true) return false
  node.input('change', JSON.stringify(asked))
  node.changed()
  return true
}
