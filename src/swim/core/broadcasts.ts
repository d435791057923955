import type { SwimMessage } from './messages.ts'

/** No update is shorter, so less room than this holds none. */
const smallestUpdateBytes = 5

/** Updates in a row that may be too long for the room that is left before a packet is closed. */
const maximumMisfits = 8

/** Replaced updates that may lie in a level before it is swept. */
const maximumStale = 64

/** An update under way. */
export interface Broadcast {
  /** What it makes void: the name of a member, or something that is no name for other news. */
  readonly key: string
  message: SwimMessage
  bytes: Uint8Array
  transmits: number
  /** False when a newer one made it void, or it was sent often enough. */
  current: boolean
}

/**
 * News that still travels. At most one per key, as a newer one replaces what it makes void, so the queue never outgrows the
 * cluster. Fewest transmissions go first, then the newest.
 */
export class BroadcastQueue {
  /** By number of transmissions, each in the order of arrival; what was replaced or went on is left out when it is met. */
  readonly #levels: Broadcast[][] = []
  readonly #byKey = new Map<string, Broadcast>()
  /** Updates of a level that were too long for a packet; empty between calls. */
  readonly #passed: Broadcast[] = []

  get size(): number {
    return this.#byKey.size
  }

  has(key: string): boolean {
    return this.#byKey.has(key)
  }

  /** Queues an update with its encoded form. */
  put(key: string, message: SwimMessage, bytes: Uint8Array): void {
    const broadcast: Broadcast = { key, message, bytes, transmits: 0, current: true }
    this.remove(key)
    this.#byKey.set(key, broadcast)
    this.#add(broadcast)
  }

  /** Says the same as it is now, without sending it more often. */
  reword(key: string, message: SwimMessage, bytes: Uint8Array): void {
    const broadcast = this.#byKey.get(key)
    if (broadcast !== undefined) Object.assign(broadcast, { message, bytes })
  }

  remove(key: string): void {
    const broadcast = this.#byKey.get(key)
    if (broadcast === undefined) return
    broadcast.current = false
    this.#byKey.delete(key)
  }

  /** Updates that fit into `capacityBytes`; each counts as sent once more, and is dropped at `limit` transmissions. */
  take(capacityBytes: number, limit: number): Broadcast[] {
    const chosen: Broadcast[] = []
    if (this.#byKey.size === 0) return chosen
    let left = capacityBytes
    let misfits = 0
    for (let transmits = 0; transmits < this.#levels.length; transmits++) {
      const level = this.#levels[transmits] as Broadcast[]
      // From the newest on; what stays keeps its place.
      let kept = level.length
      for (let at = level.length - 1; at >= 0; at--) {
        const broadcast = level[at] as Broadcast
        const stale = !isCurrent(broadcast, transmits)
        if (!stale && (left < smallestUpdateBytes || misfits >= maximumMisfits)) break
        kept = at
        if (stale) continue
        if (broadcast.bytes.length > left) {
          misfits++
          this.#passed.push(broadcast)
          continue
        }
        chosen.push(broadcast)
        left -= broadcast.bytes.length
      }
      level.length = kept
      while (this.#passed.length > 0) level.push(this.#passed.pop() as Broadcast)
      if (left < smallestUpdateBytes || misfits >= maximumMisfits) break
    }
    for (const broadcast of chosen) this.countTransmission(broadcast, limit)
    return chosen
  }

  /** @internal */
  countTransmission(broadcast: Broadcast, limit: number): void {
    broadcast.transmits++
    if (broadcast.transmits >= limit) this.remove(broadcast.key)
    else this.#add(broadcast)
  }

  clone(): BroadcastQueue {
    const copy = new BroadcastQueue()
    for (const [transmits, level] of this.#levels.entries()) {
      for (const broadcast of level) {
        if (!isCurrent(broadcast, transmits)) continue
        const twin = { ...broadcast }
        copy.#byKey.set(twin.key, twin)
        copy.#add(twin)
      }
    }
    return copy
  }

  #add(broadcast: Broadcast): void {
    const { transmits } = broadcast
    while (this.#levels.length <= transmits) this.#levels.push([])
    const level = this.#levels[transmits] as Broadcast[]
    level.push(broadcast)
    if (level.length <= this.#byKey.size * 2 + maximumStale) return
    this.#levels[transmits] = level.filter((each) => isCurrent(each, transmits))
  }
}

/** Whether it still belongs where it stands. */
function isCurrent(broadcast: Broadcast, transmits: number): boolean {
  return broadcast.current && broadcast.transmits === transmits
}
