import { between, chance, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import { electorateOf } from '../../../src/raft/core/electorate.ts'
import type { Configuration } from '../../../src/raft/core/membership-types.ts'
import { oneWay } from '../../../src/simulation/partitions.ts'
import type { Node } from './node.ts'
import { inspect } from './recovery.ts'
import type { World } from './world.ts'

/** Milliseconds after which a lost member that came back must have heard that the group went on without it. */
const noticeMs = 10_000

/** Whether this run goes on, after all is well, with the loss of more than its group can bear. */
export function mayLoseQuorum(world: World): boolean {
  const configuration = world.leader()?.core?.configuration
  if (configuration === undefined || electorateOf(configuration).halves.some(({ length }) => length < 2))
    return false
  return world.settings.losesQuorum
}

function random(world: World): SeededRandom {
  return world.simulation.random('lost quorum')
}

function runFor(world: World, ms: number): void {
  world.run(world.nowMs + ms)
}

/** Under load, so many voters go at once that the others are no quorum. Then the others are stopped, too. */
export function loseQuorum(world: World): void {
  const draw = random(world)
  const configuration = world.leader()?.core?.configuration as Configuration
  const members = shuffled(draw, configuration.replicas).filter(
    (replica) => world.nodeOf(replica) !== undefined && !world.lost.has(replica.replicaId),
  )
  const voters = members.filter(({ role }) => role !== 'learner')
  // So few that they are no majority of the smaller half, whoever they are.
  const halves = electorateOf(configuration).halves.map(({ length }) => Math.floor(length / 2))
  const most = Math.min(voters.length - 1, ...halves)
  const survivors = voters
    .slice(0, 1 + draw.integer(most))
    .concat(members.filter(({ role }) => role === 'learner' && chance(draw, 0.5)))
    .map((replica) => world.nodeOf(replica) as Node)
  world.survivors = survivors
  for (const client of world.clients) client.startAnew('l')
  runFor(world, between(draw, 100, 1_000))
  // What the survivors have is not the same, or not all: one of them, or all, was out of reach for a while.
  const out = chance(draw, 0.5) ? survivors.slice(0, 1) : chance(draw, 0.5) ? survivors : []
  const names = out.map(({ name }) => name)
  const others = world.names.filter((name) => !names.includes(name))
  const heal = world.conditions.partition([...oneWay(names, others), ...oneWay(others, names)])
  runFor(world, between(draw, 0, 1_500))
  world.fault('quorum lost')
  for (const { nodeId, replicaId } of configuration.replicas) {
    const node = world.nodes.get(nodeId) as Node
    if (survivors.includes(node)) continue
    world.dead.add(node)
    if (node.core?.replicaId === replicaId) world.leftBehind.add(node)
    node.process.crash('power')
  }
  if (chance(draw, 0.5)) heal()
  runFor(world, between(draw, 0, 2_000))
  world.conditions.heal()
  for (const client of world.clients) client.stopped = true
  for (const node of survivors) node.process.crash(chance(draw, 0.5) ? 'power' : 'kill')
}

/** The operator brings the group back with the survivors; then some of those that were lost come back as well. */
export function recoverFromLostQuorum(world: World): void {
  const draw = random(world).child('recovery')
  const { survivors } = world
  const reports = survivors.map(inspect)
  const plan = (survivors[0] as Node).planRecovery(reports)
  world.simulation.note('world', 'recovers with', survivors.map(({ name }) => name).join(' '))
  world.count('recovered from a lost quorum')
  world.recoveredAt = { index: plan.configurationIndex, term: plan.term }
  world.history = { map: [], counters: [] }
  for (const client of world.clients) client.startAnew('r')
  const back = comeBack(world, draw, plan.source.configuration as Configuration)
  // One host is brought back after the other, and not all of the lost ones wait for that.
  const steps = shuffled(draw, [...survivors.keys()])
  for (const i of steps) {
    const node = survivors[i] as Node
    node.takePart(plan, reports[i] as (typeof reports)[number])
    world.restart(node)
    runFor(world, between(draw, 0, 300))
  }
  const tidy = keepTidy(world, back)
  const until = world.nowMs + between(draw, 1_500, 4_000)
  while (world.nowMs < until) {
    runFor(world, between(draw, 100, 1_000))
    const node = survivors[draw.integer(survivors.length)] as Node
    if (chance(draw, 0.3) && node.process.state === 'running') {
      node.process.crash(chance(draw, 0.5) ? 'power' : 'kill')
      world.restartLater(node)
    }
  }
  for (const node of survivors) world.restart(node)
  const from = world.nowMs
  const heard = (): boolean => back.every((node) => !goesOn(world, node))
  world.run(from + noticeMs, heard)
  for (const node of back) {
    if (!goesOn(world, node)) continue
    world.broken(
      `${node.name} was left behind by a recovery, came back and goes on as if nothing had happened`,
      'lost members stay lost',
    )
  }
  tidy.stopped = true
}

/** A voter of the time before that campaigns still. */
function goesOn(world: World, node: Node): boolean {
  const { core } = node
  if (core === undefined || node.orphan || world.dead.has(node)) return false
  return core.isVoter() && !core.quarantined && node.recoveryGeneration === 0
}

/**
 * Some of the lost come back, at any time, with all that they had. Never so many that they are a quorum of the old group
 * by themselves: these could not know that they are lost until they hear of it.
 */
function comeBack(world: World, draw: SeededRandom, before: Configuration): Node[] {
  const least = Math.min(...electorateOf(before).halves.map((half) => half.length))
  const lost = shuffled(draw, [...world.leftBehind])
  const back = lost.slice(0, draw.integer(Math.floor(least / 2) + 1))
  for (const node of back) {
    world.simulation.scheduler.schedule(between(draw, 0, 4_000), () => {
      world.dead.delete(node)
      world.fault('lost member comes back')
      world.restart(node)
    })
  }
  return back
}

/** What was left behind is destroyed once it knows, and its node gets a new replica. */
function keepTidy(world: World, back: readonly Node[]): { stopped: boolean } {
  const tidy = { stopped: false }
  const act = (): void => {
    for (const node of back) {
      const { record } = node
      if (record === undefined || record.supersededBy === 0 || record.destroyed || !node.running) continue
      world.count('superseded replica destroyed')
      node.retire()
    }
    const leader = world.leader()
    if (!tidy.stopped && leader?.process.state === 'running' && leader.recoveryGeneration > 0) {
      growAgain(world, leader, back)
    }
    world.simulation.scheduler.schedule(100, act)
  }
  act()
  return tidy
}

function growAgain(world: World, leader: Node, back: readonly Node[]): void {
  const { core } = leader
  const configuration = core?.configuration
  if (core === undefined || configuration === undefined) return
  const learner = configuration.replicas.find(({ role }) => role === 'learner')
  const spare = back.find(
    (node) =>
      node.record?.destroyed === true &&
      node.running &&
      configuration.replicas.every(({ nodeId }) => nodeId !== node.name),
  )
  const change =
    learner !== undefined
      ? ({ type: 'promote', replicaId: learner.replicaId } as const)
      : spare !== undefined
        ? ({ type: 'addLearner', nodeId: spare.name, incarnation: spare.incarnation } as const)
        : undefined
  if (change === undefined) return
  const answer = core.changeMembership(change, {}, leader.nowMs)
  if (!answer.accepted) return
  world.count(change.type === 'addLearner' ? 'lost member added anew' : 'lost member promoted again')
  leader.input('change', JSON.stringify(change))
  leader.changed()
}
