import { chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import type { LogEntry } from '../../../src/interfaces/log-store.ts'
import type { FaultKind } from '../../../src/simulation/faults.ts'
import type { MachineDisk } from './machine.ts'
import type { Node } from './node.ts'
import type { StoreImage } from './store.ts'
import type { World } from './world.ts'

/** A disk at some moment. */
interface Image {
  readonly store: StoreImage
  readonly machine: MachineDisk
  readonly generation: number
}

/** What disks do to records that they said were durable. */
export function diskKinds(world: World): FaultKind[] {
  const timeoutMs = world.settings.raft.electionTimeoutMs ?? 300
  return [
    {
      name: 'bit rot',
      meanIntervalMs: 2_500,
      durationMs: [5, timeoutMs * 4],
      begin: (random) => damage(world, random, () => undefined),
    },
    {
      name: 'misdirected write',
      meanIntervalMs: 2_500,
      durationMs: [5, timeoutMs * 4],
      // A whole record, with a right checksum, where another one belongs.
      begin: (random) => damage(world, random, (entries) => pick(random, entries)),
    },
    {
      name: 'lost sync',
      meanIntervalMs: 1_000,
      durationMs: [1, timeoutMs],
      begin: (random) => goBack(world, random),
    },
    {
      name: 'old disk restored',
      meanIntervalMs: 2_000,
      durationMs: [timeoutMs, timeoutMs * 10],
      begin: (random) => goBack(world, random),
    },
    {
      name: 'disk full',
      meanIntervalMs: 10_000,
      durationMs: [timeoutMs * 0.1, timeoutMs * 3],
      begin: (random) => {
        const alive = world.live().filter(({ process }) => process.state === 'running')
        if (alive.length === 0) return undefined
        const node = pick(random, alive)
        const { syncFailureProbability } = node.disk.quality
        // Nothing fits any more: it ends each time it tries to write, until there is room again.
        node.disk.setQuality({ syncFailureProbability: 1 })
        return () => node.disk.setQuality({ syncFailureProbability })
      },
    },
  ]
}

/**
 * A disk is found out while its replica rests, and its leader counts on it without asking. Only for runs that are about it:
 * in others a node is found out with something under way, or as it starts.
 */
export function foundOutAtRest(world: World): FaultKind {
  const timeoutMs = world.settings.raft.electionTimeoutMs ?? 300
  return {
    name: 'disk found out at rest',
    meanIntervalMs: 2_000,
    durationMs: [timeoutMs, timeoutMs * 2],
    begin: (random) => {
      const resting = whoAgree(world).filter(({ core, leads }) => core?.atRest === true && !leads)
      return resting.length === 0 ? undefined : foundOutLate(world, pick(random, resting))
    },
  }
}

/**
 * The members, if one of them can be lost for good and nothing else can cost the quorum: all are voters and up, hold the
 * same configuration, committed, and none was lost before.
 */
function whoAgree(world: World): Node[] {
  const configuration = world.leader()?.core?.configuration
  if (configuration === undefined || configuration.replicas.length < 3) return []
  const nodes: Node[] = []
  for (const replica of configuration.replicas) {
    const node = world.nodeOf(replica)
    const state = node?.core?.configurationState()
    if (node?.core === undefined || node.core.quarantined || replica.role !== 'voter') return []
    if (state?.latest?.generation !== configuration.generation) return []
    if (state.committed?.generation !== configuration.generation) return []
    if (world.lost.has(replica.replicaId)) return []
    nodes.push(node)
  }
  return nodes
}

/** One record of a replica is not any more what was written, which its next start finds. */
function damage(
  world: World,
  random: SeededRandom,
  instead: (entries: readonly LogEntry[]) => LogEntry | undefined,
): (() => void) | undefined {
  const nodes = whoAgree(world).filter(({ store }) => store.durable.entries.length > 1)
  if (nodes.length === 0) return undefined
  const node = pick(random, nodes)
  world.lost.add(node.core?.replicaId ?? 0)
  node.process.crash('power')
  const { entries } = node.store.durable
  const lost = pick(random, entries)
  const found = instead(entries.filter(({ index }) => index !== lost.index))
  node.store.damage(lost.index, found)
  world.simulation.note(node.name, 'has damage at', lost.index)
  return () => world.restart(node)
}

/**
 * A disk comes back as it was earlier: the syncs in between were lost, or somebody restored a backup. Nobody has what only it
 * and one that is lost next have acknowledged; so this happens where all others have everything that it had. It is to be
 * found by those that remember. What it has voted since a leader cannot know; so where term or vote are not the same, somebody
 * knows how far its disk was, and speaks to it before anybody can ask for its vote: at once, or when other groups of the
 * node have written more than it lost.
 */
function goBack(world: World, random: SeededRandom): (() => void) | undefined {
  const followers = whoAgree(world).filter((node) => !node.leads)
  if (followers.length === 0) return undefined
  const promising = followers.find(isPromising)
  if (promising !== undefined && chance(random, 0.3)) return foundOutLate(world, promising)
  const node = pick(random, followers)
  const { core } = node
  const image: Image = {
    store: node.store.image(),
    machine: node.machineDisk.image(),
    generation: core?.configuration?.generation ?? 0,
  }
  return () => {
    if (world.calm || node.core !== core || core === undefined || !mayForget(world, node, image)) return
    const others = whoAgree(world).filter((other) => other !== node)
    const overTerms = !isSameVote(node, image)
    world.fault(overTerms ? 'votes forgotten' : 'durable entries forgotten')
    world.lost.add(core.replicaId)
    world.forgetful.add(core.replicaId)
    node.process.crash('power')
    const lost = node.store.position - image.store.position
    node.store.restore(image.store)
    node.machineDisk.restore(image.machine)
    world.invariantsOf(node).reminted(core.replicaId)
    if (!overTerms) return world.restartLater(node)
    world.restart(node)
    if (chance(random, 0.5)) node.store.writeElsewhere(lost + random.integer(10))
    for (const other of others) other.greet(node)
    world.toldOf.add(core.replicaId)
  }
}

/** A snapshot is on its way to it, or it has promised what its disk has not confirmed yet. */
function isPromising({ core, withheld, earlier }: Node): boolean {
  return !earlier && (core?.restoring !== undefined || withheld.length > 0)
}

/**
 * An image that has all of this group, but not of other ones of its node, came back when it started, and those who know speak
 * to it only now: nothing on its disk is believed any more, while it is in the midst of it, and however much it has written.
 */
function foundOutLate(world: World, node: Node): undefined {
  const replicaId = node.core?.replicaId ?? 0
  if (node.recoveryGeneration > 0) return
  world.fault('forgetful disk found out late')
  world.lost.add(replicaId)
  world.forgetful.add(replicaId)
  world.toldOf.add(replicaId)
  const known = [{ life: -1, position: node.openedAt + 1 }]
  node.takeMarks(node.peer, { kind: 'marks', life: -1, position: 0, known })
}

function isSameVote({ store }: Node, image: Image): boolean {
  const now = store.durable.hardState
  const before = image.store.durable.hardState
  return now?.term === before?.term && now?.votedFor === before?.votedFor
}

/** Somebody knows that its disk was further. All run a release that says so. */
function isKnown(world: World, node: Node, image: Image, others: readonly Node[]): boolean {
  if (world.settings.earlierShare > 0) return false
  return others.some((other) =>
    other.marks.known(node.peer).some(({ position }) => position > image.store.position),
  )
}

function mayForget(world: World, node: Node, image: Image): boolean {
  const nodes = whoAgree(world)
  const { durable, durableRecord, record } = node.store
  const before = image.store.durable
  if (!nodes.includes(node) || node.leads || durableRecord?.restoring !== false) return false
  if (record !== durableRecord || image.store.record !== record) return false
  if (node.core?.configuration?.generation !== image.generation) return false
  const others = nodes.filter((other) => other !== node)
  if (!isSameVote(node, image)) {
    if (!isKnown(world, node, image, others)) return false
  } else if (before.last.index >= durable.last.index) return false
  return nodes.every((other) => {
    const { compacted, entries } = other.store.durable
    const { index, term } = durable.last
    return index <= compacted.index || entries[index - compacted.index - 1]?.term === term
  })
}
