import { chance, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import type { BlockedLink } from '../../../src/simulation/partitions.ts'
import { serve } from './calm.ts'
import { halvesOf, type World } from './world.ts'

/** What is restarted when the faults end is there after that. */
const settlingMs = 3_000

/**
 * In some runs the network does not heal as a whole: a random majority is connected, and of all other links many are cut for
 * as long as this takes, in one direction or both. Those who are left serve within the bound, whatever the others, who hear
 * and reach some of them, try. For this PreVote and CheckQuorum are needed on every node.
 */
export function serveInMajority(world: World): void {
  const random = world.simulation.random('majority')
  const { raft, mixedOptions } = world.settings
  if (raft.preVote === false || raft.checkQuorum === false || mixedOptions || !chance(random, 0.5)) return
  world.run(world.nowMs + settlingMs)
  const majority = drawMajority(world, random)
  if (majority === undefined) return
  const cutShare = chance(random, 0.5) ? 0.5 : 0.8
  const links = world.names.flatMap((from) =>
    world.names
      .filter((to) => to !== from && !(majority.has(from) && majority.has(to)) && chance(random, cutShare))
      .map((to): BlockedLink => [from, to]),
  )
  world.fault('only a majority is connected')
  if (!majority.has(world.leader()?.name ?? ''))
    world.fault('only a majority without the leader is connected')
  world.simulation.note(
    'world',
    'connected',
    [...majority].join(),
    'cut',
    links.map((link) => link.join('>')).join(),
  )
  const heal = world.conditions.partition(links)
  serve(world, `${[...majority].join()} were connected`, () => true)
  heal()
}

/** As few nodes as chance will have it, that are a majority of every configuration that may be in force anywhere. */
function drawMajority(world: World, random: SeededRandom): Set<string> | undefined {
  const configurations = world.live().flatMap(({ core }) => core?.configurations.places ?? [])
  const suffices = (names: ReadonlySet<string>): boolean => {
    const serves = (voter: ReplicaDescriptor): boolean =>
      names.has(voter.nodeId) &&
      !world.lost.has(voter.replicaId) &&
      world.nodeOf(voter)?.core?.quarantined === false
    return configurations.every(({ configuration }) =>
      halvesOf(configuration).every((half) => half.filter(serves).length * 2 > half.length),
    )
  }
  const majority = new Set(world.names)
  if (configurations.length === 0 || !suffices(majority)) return undefined
  for (const name of shuffled(random, world.names)) {
    if (!chance(random, 0.8)) continue
    majority.delete(name)
    if (!suffices(majority)) majority.add(name)
  }
  return majority.size < world.names.length ? majority : undefined
}
