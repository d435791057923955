import type { NodeId } from '../../model/ids.ts'

/** No update is shorter, so less room than this holds none. */
const smallestUpdateBytes = 4

/** An update under way. */
export interface Broadcast {
  readonly about: NodeId
  readonly bytes: Uint8Array
  transmits: number
}

/**
 * Updates that still travel. At most one per member, as a newer one replaces what it makes void, so the queue never
 * outgrows the cluster. Fewest transmissions go first, then the newest.
 */
export class BroadcastQueue {
  /** By number of transmissions, each in the order of arrival. */
  readonly #levels: Map<NodeId, Broadcast>[] = []
  readonly #byMember = new Map<NodeId, Broadcast>()

  get size(): number {
    return this.#byMember.size
  }

  has(about: NodeId): boolean {
    return this.#byMember.has(about)
  }

  /** Queues an encoded update. */
  put(about: NodeId, bytes: Uint8Array): void {
    this.remove(about)
    const broadcast: Broadcast = { about, bytes, transmits: 0 }
    this.#byMember.set(about, broadcast)
    this.#level(0).set(about, broadcast)
  }

  remove(about: NodeId): void {
    const broadcast = this.#byMember.get(about)
    if (broadcast === undefined) return
    this.#byMember.delete(about)
    this.#level(broadcast.transmits).delete(about)
  }

  /** Updates that fit into `capacityBytes`; each counts as sent once more, and is dropped at `limit` transmissions. */
  take(capacityBytes: number, limit: number): Uint8Array[] {
    const chosen: Broadcast[] = []
    let left = capacityBytes
    for (const level of this.#levels) {
      if (left < smallestUpdateBytes) break
      if (level.size === 0) continue
      for (const broadcast of [...level.values()].reverse()) {
        if (broadcast.bytes.length > left) continue
        chosen.push(broadcast)
        left -= broadcast.bytes.length
      }
    }
    for (const broadcast of chosen) this.countTransmission(broadcast, limit)
    return chosen.map(({ bytes }) => bytes)
  }

  /** @internal */
  countTransmission(broadcast: Broadcast, limit: number): void {
    const { about } = broadcast
    this.#level(broadcast.transmits).delete(about)
    broadcast.transmits++
    if (broadcast.transmits >= limit) this.#byMember.delete(about)
    else this.#level(broadcast.transmits).set(about, broadcast)
  }

  clone(): BroadcastQueue {
    const copy = new BroadcastQueue()
    for (const level of this.#levels) {
      for (const broadcast of level.values()) {
        const twin = { ...broadcast }
        copy.#byMember.set(twin.about, twin)
        copy.#level(twin.transmits).set(twin.about, twin)
      }
    }
    return copy
  }

  #level(transmits: number): Map<NodeId, Broadcast> {
    while (this.#levels.length <= transmits) this.#levels.push(new Map())
    return this.#levels[transmits] as Map<NodeId, Broadcast>
  }
}
