import type { Random } from '../../core/random.ts'
import type { Incarnation, NodeId } from '../../model/ids.ts'
import type { Beat, BeatReply } from './host-messages.ts'

/** A node by name and by the life of its data. */
export interface LivenessPeer {
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
}

/** What a {@link NodeLiveness} goes by: the options of the host's cores of the same names. */
export interface NodeLivenessOptions {
  readonly heartbeatIntervalMs: number
  readonly electionTimeoutMs: number
  readonly leaseMs: number
  readonly clockDriftBound: number
  readonly random: Random
  /** How many groups are open here. */
  readonly groups?: () => number
}

/** What the host has to tell its replicas. */
export type LivenessEvent =
  /**
   * The epoch has ended: those that rest under it wake up and are covered no more. Nothing was pledged under it that lasts
   * beyond `untilMs`, and the node that led was heard last at `heardMs`.
   */
  | {
      readonly type: 'coverEnded'
      readonly epoch: number
      readonly untilMs: number
      readonly heardMs: number
    }
  /** What this node pledged counts no more, and nothing is heard of it. */
  | { readonly type: 'supportLost'; readonly peer: LivenessPeer }
  /** The node is there, and pledges itself under this epoch and no other. */
  | { readonly type: 'supported'; readonly peer: LivenessPeer; readonly epoch: number }

/** What the last answer of a node is worth. */
export interface NodeSupport {
  readonly epoch: number
  /** When the beat left that was answered. */
  readonly sent: { readonly atMs: number; readonly wallMs: number }
  readonly pledgeMs: number
}

interface SentBeat {
  readonly sequence: number
  readonly atMs: number
  readonly wallMs: number
}

/** A node, in one life of its data, with replicas that follow some here. */
interface Follower {
  readonly peer: LivenessPeer
  stream: number
  sequence: number
  nextBeatMs: number
  lastBeatMs: number
  /** Until then somebody reads by lease, and each beat is to follow the one before while the pledge for that lasts. */
  pledgesWantedUntilMs: number
  /** Groups at rest that count on the node. */
  groups: number
  /** Beats go on until then without any. */
  wantedUntilMs: number
  /** Those that may still be answered, oldest first. */
  sent: SentBeat[]
  answered: number
  heardMs: number
  support: NodeSupport | undefined
}

/** A node with replicas that lead some here. @internal */
export interface Leader {
  readonly incarnation: Incarnation
  readonly stream: number
  readonly epoch: number
  sequence: number
  heardMs: number
  pledgedUntilMs: number
  /** The last beat is answered with the next one of this node. */
  owesReply: boolean
}

/** Time between two beats where nobody reads by lease, in election timeouts. */
const calmShare = 1 / 2
/** A node of which nothing was heard for so many election timeouts is silent: one beat may be missing. */
const silentShare = 1.2
/** With so many groups it takes one election timeout more: what a false alarm costs is as much as it wakes. */
const groupsPerShare = 20_000
/** Beats go on for so many intervals after the last group that wanted them, which may want them again soon. */
const lingeringBeats = 200
const maximumUnanswered = 256

/**
 * The signs of life between this node and the others, in both parts: for groups that are led here, and for replicas that
 * follow here. Groups that rest say nothing, so their nodes say for all of them at once that they are there.
 *
 * A node answers each beat with a pledge: none of its replicas that rest under the sender votes against it for a while.
 * The pledge is bound to an epoch, which the node ends before any of those replicas may vote: when the sender falls silent,
 * when its connection breaks, when it is another life of itself. Whoever leads counts a pledge for a group only if the
 * replica there went to rest under the same epoch (compare CockroachDB's store liveness, where epochs are withdrawn in the
 * same way).
 *
 * No I/O, no clock: time comes in, beats and events come out.
 */
export class NodeLiveness {
  readonly #options: NodeLivenessOptions
  /** By name and life: a group may still count a replica that was lost with a disk beside the one that takes its place. */
  readonly #followers = new Map<string, Follower>()
  readonly #leaders = new Map<NodeId, Leader>()
  /** Nodes that gave a sign of life, in their last lives: earlier releases never do. */
  readonly #seen = new Map<NodeId, Incarnation>()
  /** Streams and epochs are never used twice, not by the next life of this node either: it begins elsewhere. */
  #lastNumber: number

  constructor(options: NodeLivenessOptions) {
    this.#options = options
    this.#lastNumber = options.random.integer(2 ** 50)
  }

  /** When `advance` wants to be called next. */
  get nextDeadlineMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const follower of this.#followers.values()) {
      next = Math.min(next, follower.nextBeatMs, this.silentFromMs(follower))
    }
    for (const leader of this.#leaders.values()) {
      next = Math.min(next, leader.heardMs + this.#silentMs)
    }
    return next
  }

  // For groups that are led here

  /**
   * The epoch under which replicas of this node may go to rest; 0 when it is not known yet. Being asked is what starts the
   * beats.
   */
  epochOf(peer: LivenessPeer, nowMs: number): number {
    const follower = this.#follower(peer, nowMs)
    follower.wantedUntilMs = nowMs + lingeringBeats * this.#options.heartbeatIntervalMs
    return follower.support?.epoch ?? 0
  }

  /** A group that counts on this node has gone to rest (1) or has woken up (-1). */
  count(peer: LivenessPeer, change: 1 | -1, nowMs: number): void {
    const follower = this.#follower(peer, nowMs)
    follower.groups = Math.max(0, follower.groups + change)
    follower.wantedUntilMs = nowMs + lingeringBeats * this.#options.heartbeatIntervalMs
  }

  /** Whether the node gives signs of life, so that it is noticed when it comes back. */
  watches({ nodeId, incarnation }: LivenessPeer): boolean {
    return this.#seen.get(nodeId) === incarnation
  }

  /** Whether it has been silent for long, though it is asked and used to answer. */
  isGone(peer: LivenessPeer, nowMs: number): boolean {
    const follower = this.#followers.get(keyOf(peer))
    if (follower === undefined || follower.support !== undefined || !this.watches(peer)) return false
    return nowMs >= follower.heardMs + this.#silentMs
  }

  supportOf(peer: LivenessPeer): NodeSupport | undefined {
    return this.#followers.get(keyOf(peer))?.support
  }

  /** As {@link NodeLiveness.supportOf}, for a read by lease: from now on pledges follow each other without a gap. */
  pledgeFor(peer: LivenessPeer, nowMs: number): NodeSupport | undefined {
    const follower = this.#followers.get(keyOf(peer))
    if (follower === undefined || !this.#leases) return follower?.support
    if (nowMs >= follower.pledgesWantedUntilMs) follower.nextBeatMs = Math.min(follower.nextBeatMs, nowMs)
    follower.pledgesWantedUntilMs = nowMs + lingeringBeats * this.#options.heartbeatIntervalMs
    return follower.support
  }

  replyReceived(peer: LivenessPeer, reply: BeatReply, nowMs: number): LivenessEvent[] {
    const follower = this.#followers.get(keyOf(peer))
    if (follower === undefined) return []
    if (reply.stream !== follower.stream || reply.sequence <= follower.answered) return []
    const sent = follower.sent.find(({ sequence }) => sequence === reply.sequence)
    if (sent === undefined || reply.epoch === 0) return []
    this.#seen.set(peer.nodeId, peer.incarnation)
    follower.answered = reply.sequence
    follower.sent = follower.sent.filter(({ sequence }) => sequence > reply.sequence)
    follower.heardMs = nowMs
    const before = follower.support?.epoch
    follower.support = { epoch: reply.epoch, sent, pledgeMs: reply.pledgeMs }
    if (before === reply.epoch) return []
    return [{ type: 'supported', peer: follower.peer, epoch: reply.epoch }]
  }

  // For replicas that follow here

  /** @returns what goes back at once, in one frame: an answer, a beat of this node, or nothing */
  beatReceived(
    peer: LivenessPeer,
    beat: Beat,
    nowMs: number,
    wallMs: number,
  ): { readonly beats: (Beat | BeatReply)[]; readonly events: LivenessEvent[] } {
    const { nodeId, incarnation } = peer
    this.#seen.set(nodeId, incarnation)
    const events: LivenessEvent[] = []
    let leader = this.#leaders.get(nodeId)
    if (leader === undefined || leader.stream !== beat.stream || leader.incarnation !== incarnation) {
      events.push(...this.endEpoch(nodeId))
      const { stream } = beat
      const epoch = this.#freshNumber()
      leader = {
        incarnation,
        stream,
        epoch,
        sequence: 0,
        heardMs: -Infinity,
        pledgedUntilMs: -Infinity,
        owesReply: false,
      }
      this.#leaders.set(nodeId, leader)
    }
    const sinceMs = nowMs - leader.heardMs
    leader.sequence = Math.max(leader.sequence, beat.sequence)
    leader.heardMs = nowMs
    leader.pledgedUntilMs = Math.max(leader.pledgedUntilMs, nowMs + this.pledgeDurationMs())
    leader.owesReply = true
    const follower = this.#followers.get(keyOf(peer))
    if (follower === undefined || !this.#isWanted(follower, nowMs)) {
      return { beats: [this.replyTo(leader)], events }
    }
    const intervalMs = this.#intervalMs(follower, nowMs)
    // Whoever is in no hurry is answered with the next beat.
    if (nowMs < follower.lastBeatMs + intervalMs / 2) {
      return { beats: this.isCalm(sinceMs) ? [] : [this.replyTo(leader)], events }
    }
    const beats = this.#beats(follower, nowMs, wallMs)
    if (nowMs >= follower.pledgesWantedUntilMs) follower.nextBeatMs = nowMs + intervalMs * 2
    return { beats, events }
  }

  /** The answer to the last beat of a node. @internal */
  replyTo(leader: Leader): BeatReply {
    leader.owesReply = false
    const { stream, sequence, epoch } = leader
    return { kind: 'beatReply', stream, sequence, epoch, pledgeMs: this.#leases ? this.#options.leaseMs : 0 }
  }

  /** Beats that come so far apart are not there for pledges. @internal */
  isCalm(sinceMs: number): boolean {
    return sinceMs < Infinity && sinceMs * 2 >= this.#options.electionTimeoutMs * calmShare
  }

  /**
   * The next beat to a node, and the answer that it waits for. Of two nodes that both give signs of life one sends its own
   * when it hears of the other, and is answered with the next one: two frames do for both.
   */
  #beats(follower: Follower, nowMs: number, wallMs: number): (Beat | BeatReply)[] {
    const beat = this.#beat(follower, nowMs, wallMs)
    const leader = this.#leaders.get(follower.peer.nodeId)
    if (leader?.owesReply !== true || leader.incarnation !== follower.peer.incarnation) return [beat]
    return [this.replyTo(leader), beat]
  }

  #beat(follower: Follower, nowMs: number, wallMs: number): Beat {
    follower.lastBeatMs = nowMs
    follower.nextBeatMs = nowMs + this.#intervalMs(follower, nowMs)
    follower.sequence++
    const { stream, sequence } = follower
    follower.sent.push({ sequence, atMs: nowMs, wallMs })
    if (follower.sent.length > maximumUnanswered) follower.sent.shift()
    return { kind: 'beat', stream, sequence }
  }

  #isWanted({ groups, wantedUntilMs }: Follower, nowMs: number): boolean {
    return groups > 0 || nowMs < wantedUntilMs
  }

  /** Pledges do not last for longer than until the next beat but one; to be there takes less. */
  #intervalMs({ pledgesWantedUntilMs }: Follower, nowMs: number): number {
    const { heartbeatIntervalMs, electionTimeoutMs } = this.#options
    return nowMs < pledgesWantedUntilMs ? heartbeatIntervalMs : electionTimeoutMs * calmShare
  }

  /** Whether replicas here may rest, under this epoch, under leaders there. */
  supports(peer: LivenessPeer, epoch: number): boolean {
    const leader = this.#leaders.get(peer.nodeId)
    return leader !== undefined && leader.epoch === epoch && leader.incarnation === peer.incarnation
  }

  /** Until when this node votes against no leader there for a replica that rests. */
  pledgedUntilMs(nodeId: NodeId): number {
    return this.#leaders.get(nodeId)?.pledgedUntilMs ?? -Infinity
  }

  /** A replica that may rest under this node wants to vote: what was pledged has to have run out. */
  mayEndEpoch(nodeId: NodeId, nowMs: number): boolean {
    return nowMs >= this.pledgedUntilMs(nodeId)
  }

  endEpoch(nodeId: NodeId): LivenessEvent[] {
    const leader = this.#leaders.get(nodeId)
    if (leader === undefined) return []
    this.#leaders.delete(nodeId)
    const { epoch, pledgedUntilMs: untilMs, heardMs } = leader
    return [{ type: 'coverEnded', epoch, untilMs, heardMs }]
  }

  /** Replicas here that rest are not to be counted on any more: their leaders hear of other epochs. */
  endEpochs(): LivenessEvent[] {
    return [...this.#leaders.keys()].flatMap((nodeId) => this.endEpoch(nodeId))
  }

  /** As `RaftPledges.pledgeDurationMs`. */
  pledgeDurationMs(): number {
    return this.#leases ? this.#options.leaseMs * (1 + this.#options.clockDriftBound) : 0
  }

  // Both

  /** Messages from or to this node may be lost. */
  lost(nodeId: NodeId): LivenessEvent[] {
    const events = this.endEpoch(nodeId)
    for (const follower of this.#followers.values()) {
      if (follower.peer.nodeId !== nodeId) continue
      follower.stream = this.#freshNumber()
      follower.sent = []
      follower.answered = 0
      if (follower.support === undefined) continue
      follower.support = undefined
      events.push({ type: 'supportLost', peer: follower.peer })
    }
    return events
  }

  /** Lets time pass: beats that are due, and nodes of which nothing was heard. */
  advance(
    nowMs: number,
    wallMs: number,
  ): {
    readonly beats: { readonly to: LivenessPeer; readonly beat: Beat | BeatReply }[]
    readonly events: LivenessEvent[]
    /** Nodes that have just fallen silent. */
    readonly silent: NodeId[]
  } {
    const beats: { to: LivenessPeer; beat: Beat | BeatReply }[] = []
    const events: LivenessEvent[] = []
    const silent: NodeId[] = []
    for (const [nodeId, leader] of this.#leaders) {
      if (nowMs < leader.heardMs + this.#silentMs) continue
      events.push(...this.endEpoch(nodeId))
      silent.push(nodeId)
    }
    // The others need not wake this node again a moment later.
    const isDue = [...this.#followers.values()].some(({ nextBeatMs }) => nowMs >= nextBeatMs)
    for (const [key, follower] of this.#followers) {
      const { peer } = follower
      if (nowMs >= this.silentFromMs(follower)) {
        follower.support = undefined
        events.push({ type: 'supportLost', peer })
        silent.push(peer.nodeId)
      }
      if (nowMs < follower.nextBeatMs - (isDue ? this.#intervalMs(follower, nowMs) / 4 : 0)) continue
      if (!this.#isWanted(follower, nowMs)) this.#followers.delete(key)
      else for (const beat of this.#beats(follower, nowMs, wallMs)) beats.push({ to: peer, beat })
    }
    return { beats, events, silent }
  }

  /** From when on nothing that was heard of the node counts; never, where nothing was. */
  silentFromMs(follower: Follower): number {
    if (follower.support === undefined) return Number.POSITIVE_INFINITY
    return follower.heardMs + this.#silentMs
  }

  get #silentMs(): number {
    const groups = this.#options.groups?.() ?? 0
    return this.#options.electionTimeoutMs * (silentShare + groups / groupsPerShare)
  }

  get #leases(): boolean {
    return this.#options.leaseMs > 0 && this.#options.clockDriftBound > 0
  }

  #freshNumber(): number {
    return ++this.#lastNumber
  }

  #follower(peer: LivenessPeer, nowMs: number): Follower {
    const key = keyOf(peer)
    const known = this.#followers.get(key)
    if (known !== undefined) return known
    const { nodeId, incarnation } = peer
    const follower: Follower = {
      peer: { nodeId, incarnation },
      stream: this.#freshNumber(),
      sequence: 0,
      nextBeatMs: nowMs,
      lastBeatMs: Number.NEGATIVE_INFINITY,
      pledgesWantedUntilMs: Number.NEGATIVE_INFINITY,
      groups: 0,
      wantedUntilMs: nowMs,
      sent: [],
      answered: 0,
      heardMs: nowMs,
      support: undefined,
    }
    this.#followers.set(key, follower)
    return follower
  }
}

function keyOf({ nodeId, incarnation }: LivenessPeer): string {
  return `${incarnation}/${nodeId}`
}
