import type { Incarnation, NodeId } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import type { DiskHistory } from './disk-history.ts'
import { maximumKnownMarks } from './frame.ts'
import type { LifeMark, Marks } from './host-messages.ts'

const maximumPeers = 10_000

/** A petabyte more than this disk has is nothing that it ever wrote: one bad number must not end a node. */
const incredible = 2 ** 50

/**
 * Disks of a node that are kept, those that were heard of last: one that was replaced by an empty one may come back, and a
 * late frame of it says nothing of the one that took its place.
 */
const maximumIncarnations = 4

/** What was heard of a disk, by the lives of its host. */
type Positions = Map<number, number>

/** What a disk had, as somebody has heard, and has no more. */
export interface ForgottenMark extends LifeMark {
  /** See {@link DiskHistory.settledFrom}. */
  readonly settledFrom: number
}

/**
 * How far the disks of all nodes have got, as they tell each other with each frame. A node that hears from any other how
 * far its own disk once was, and has less, knows that an older image of it has come back, or that it lost what it had
 * confirmed: what it acknowledged since is gone, votes included. The leader of a group finds that out for its own term alone
 * (its acknowledgement marks); this holds over terms, for all groups at once, and before the first vote is given, since
 * whoever asks for it says what he knows. What is known of others nobody stores: who has started since knows nothing.
 *
 * A disk that has lost something writes on, and has as much as before soon. So a position counts together with the life of
 * the host that wrote up to it: what a life had is compared with what the disk had when the next one began, as its own
 * {@link DiskHistory} tells, however many lives ago.
 */
export class DiskMarks {
  readonly #history: DiskHistory | undefined
  readonly #own: () => number | undefined
  /** The latest heard of comes last, so that the first is the one to go. */
  readonly #peers = new Map<NodeId, Map<Incarnation, Positions>>()

  /**
   * @param history with the present life, which is durable. Without it this node tells nothing of its disk and believes nobody: a
   * store that does not say how far it is (a wrapper around one that did, perhaps) must not be taken for one that forgot
   * @param own tells how much of this node's log store is durable; undefined where the store does not say
   */
  constructor(history: DiskHistory | undefined, own: () => number | undefined) {
    this.#history = history
    this.#own = own
  }

  /** How far a node's disk was in its lives, as far as this one has heard: those first that got furthest. */
  known({ nodeId, incarnation }: Peer): LifeMark[] {
    const positions = this.#peers.get(nodeId)?.get(incarnation)
    if (positions === undefined) return []
    return [...positions]
      .map(([life, position]) => ({ life, position }))
      .sort((a, b) => b.position - a.position)
  }

  /** What a frame to a node says, if there is anything to say. */
  to(peer: Peer): Marks | undefined {
    const life = this.#history?.present?.life ?? 0
    const position = life > 0 ? (this.#own() ?? 0) : 0
    const known = this.known(peer)
    return position > 0 || known.length > 0 ? { kind: 'marks', life, position, known } : undefined
  }

  /** Takes in what a frame says. Returns what this node's own disk had and has forgotten, if it is told of something. */
  heard(peer: Peer, { life, position, known }: Marks): ForgottenMark | undefined {
    if (position > 0) this.#remember(peer, life, position)
    let worst: ForgottenMark | undefined
    for (const mark of known) {
      if (!this.hasForgotten(mark)) continue
      const settledFrom = this.#history?.settledFrom(mark.life) ?? 0
      if (worst === undefined || settledFrom > worst.settledFrom) worst = { ...mark, settledFrom }
    }
    return worst
  }

  /** @internal */
  hasForgotten({ life, position }: LifeMark): boolean {
    const own = this.#own()
    if (own === undefined || position > own + incredible) return false
    const reached = this.reachedIn(life)
    return reached !== undefined && position > reached
  }

  /**
   * How far this disk has got, or had got when a former life ended.
   *
   * @internal
   */
  reachedIn(life: number): number | undefined {
    return this.#history?.reachedIn(life, this.#own())
  }

  #remember({ nodeId, incarnation }: Peer, life: number, position: number): void {
    const disks = this.#peers.get(nodeId) ?? new Map<Incarnation, Positions>()
    const positions: Positions = disks.get(incarnation) ?? new Map<number, number>()
    if (position <= (positions.get(life) ?? 0)) return
    positions.set(life, position)
    if (positions.size > maximumKnownMarks) positions.delete(leastOf(positions))
    setLast(disks, incarnation, positions, maximumIncarnations)
    setLast(this.#peers, nodeId, disks, maximumPeers)
  }
}

/** Puts an entry at the end; where there are too many then, those at the front go. */
function setLast<K, V>(map: Map<K, V>, key: K, value: V, maximumSize: number): void {
  map.delete(key)
  for (const [oldest] of map) {
    if (map.size < maximumSize) break
    map.delete(oldest)
  }
  map.set(key, value)
}

/** The life that got least far: no other one is told of it first. */
function leastOf(positions: Positions): number {
  let least = { life: 0, position: Number.POSITIVE_INFINITY }
  for (const [life, position] of positions) if (position < least.position) least = { life, position }
  return least.life
}
