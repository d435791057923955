import type { Incarnation, NodeId } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import { maximumKnownMarks } from './frame.ts'
import type { LifeMark, Marks } from './host-messages.ts'

const maximumPeers = 10_000

/** Lives of a node's disk that are kept: those that got furthest. */
const maximumLives = 8

/**
 * Disks of a node that are kept, those that were heard of last: one that was replaced by an empty one may come back, and a
 * late frame of it says nothing of the one that took its place.
 */
const maximumIncarnations = 4

/** What was heard of a disk, by the lives of its host. */
type Positions = Map<number, number>

/**
 * How far the disks of all nodes have got, as they tell each other with each frame. A node that hears from any other how
 * far its own disk once was, and has less, knows that an older image of it has come back, or that it lost what it had
 * confirmed: what it acknowledged since is gone, votes included. The leader of a group finds that out for its own term alone
 * (its acknowledgement marks); this holds over terms, for all groups at once, and before the first vote is given, since
 * whoever asks for it says what he knows. Nobody stores it: who has started since knows nothing.
 *
 * A disk that has lost something writes on, and has as much as before soon. So a position counts together with the life of
 * the host that wrote up to it: what a former life had is compared with what the disk had when this one began.
 */
export class DiskMarks {
  readonly #life: number
  readonly #own: () => number | undefined
  readonly #openedAt: number | undefined
  /** The latest heard of comes last, so that the first is the one to go. */
  readonly #peers = new Map<NodeId, Map<Incarnation, Positions>>()

  /**
   * To be made when the store has been opened and nothing was written yet.
   *
   * @param life drawn at random for this life of the host: an image that comes back must not bring it back
   * @param own tells how much of this node's log store is durable; undefined where the store does not say
   */
  constructor(life: number, own: () => number | undefined) {
    this.#life = life
    this.#own = own
    this.#openedAt = own()
  }

  /** How far a node's disk was in those of its lives that got furthest, as far as this one has heard. */
  known({ nodeId, incarnation }: Peer): LifeMark[] {
    const positions = this.#peers.get(nodeId)?.get(incarnation)
    if (positions === undefined) return []
    return [...positions]
      .map(([life, position]) => ({ life, position }))
      .sort((a, b) => b.position - a.position)
      .slice(0, maximumKnownMarks)
  }

  /** What a frame to a node says, if there is anything to say. */
  to(peer: Peer): Marks | undefined {
    const position = this.#own() ?? 0
    const known = this.known(peer)
    return position > 0 || known.length > 0 ? { kind: 'marks', life: this.#life, position, known } : undefined
  }

  /** Takes in what a frame says. Returns what this node's own disk had and has forgotten, if it is told of something. */
  heard(peer: Peer, { life, position, known }: Marks): LifeMark | undefined {
    if (position > 0) this.#remember(peer, life, position)
    return known.find((mark) => this.hasForgotten(mark))
  }

  /**
   * A store that does not say (a wrapper around one that did, perhaps) accuses nobody: else a healthy node would be lost.
   *
   * @internal
   */
  hasForgotten({ life, position }: LifeMark): boolean {
    const reached = this.reachedIn(life)
    return reached !== undefined && position > reached
  }

  /**
   * How far this disk has got, or had got when the life ended: no former one wrote anything after this one began.
   *
   * @internal
   */
  reachedIn(life: number): number | undefined {
    return life === this.#life ? this.#own() : this.#openedAt
  }

  #remember({ nodeId, incarnation }: Peer, life: number, position: number): void {
    const disks = this.#peers.get(nodeId) ?? new Map<Incarnation, Positions>()
    const positions: Positions = disks.get(incarnation) ?? new Map<number, number>()
    if (position <= (positions.get(life) ?? 0)) return
    positions.set(life, position)
    if (positions.size > maximumLives) positions.delete(leastOf(positions))
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
