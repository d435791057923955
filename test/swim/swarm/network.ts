import { between, chance, type SeededRandom } from '../../../src/core/random.ts'

/** What the network does to every packet. */
export interface NetworkFaults {
  /** Share of packets that are lost. */
  loss: number
  /** Share of packets that arrive twice. */
  duplication: number
  /** Share of packets that are held back for up to `holdMs`, so that later ones pass them. */
  reordering: number
  holdMs: number
  minimumDelayMs: number
  maximumDelayMs: number
}

export const calmNetwork: Readonly<NetworkFaults> = Object.freeze({
  loss: 0,
  duplication: 0,
  reordering: 0,
  holdMs: 100,
  minimumDelayMs: 0.2,
  maximumDelayMs: 2,
})

/** A datagram network among numbered processes: decides which packets arrive, and when. */
export class SwarmNetwork {
  readonly faults: NetworkFaults = { ...calmNetwork }
  /** Share of what a process sends, or of what is sent to it, that is lost on top: one way only. */
  readonly outgoingLoss = new Map<number, number>()
  readonly incomingLoss = new Map<number, number>()
  /** Share of the datagrams to and from a process that are lost, while streams get through. */
  readonly datagramLoss = new Map<number, number>()
  /** The time that a path takes, undefined where it is cut; instead of the drawn times. */
  pathMs: ((from: number, to: number) => number | undefined) | undefined
  /** By sender, receiver and one way: `from * 2^20 + to`. */
  readonly #linkLoss = new Map<number, number>()
  /** Side of the partition by process; those without an entry stand on side 0. */
  readonly #sides = new Map<number, number>()
  /** Pairs of sides where the first does not reach the second, though perhaps the other way round. */
  #deaf: ReadonlySet<string> | undefined
  readonly #random: SeededRandom

  constructor(random: SeededRandom) {
    this.#random = random
  }

  /** Splits the network: only processes of one side reach each other. */
  partition(...sides: readonly (readonly number[])[]): void {
    this.#sides.clear()
    this.#deaf = undefined
    sides.forEach((members, side) => {
      for (const member of members) this.#sides.set(member, side)
    })
  }

  /** From now on only packets from the first side to the second are lost. */
  partitionOneWay(from: readonly number[], to: readonly number[]): void {
    this.partition([], from, to)
    this.#deaf = new Set(['1 2'])
  }

  /** Loses a share of what one process sends to another. */
  loseLink(from: number, to: number, share: number): void {
    this.#linkLoss.set(from * 2 ** 20 + to, share)
  }

  heal(): void {
    this.#sides.clear()
    this.#deaf = undefined
    this.#linkLoss.clear()
    this.outgoingLoss.clear()
    this.incomingLoss.clear()
    this.datagramLoss.clear()
    Object.assign(this.faults, calmNetwork)
  }

  reaches(from: number, to: number): boolean {
    if (this.#sides.size === 0) return true
    const [a, b] = [this.#sides.get(from) ?? 0, this.#sides.get(to) ?? 0]
    if (a === b) return true
    return this.#deaf !== undefined && !this.#deaf.has(`${a} ${b}`)
  }

  /** The delay of a packet while nothing happens to packets but that they take their time; undefined otherwise. */
  calmDelayMs(): number | undefined {
    const { loss, duplication, reordering, minimumDelayMs, maximumDelayMs } = this.faults
    if (loss > 0 || duplication > 0 || reordering > 0 || this.pathMs !== undefined) return undefined
    if (this.outgoingLoss.size + this.incomingLoss.size + this.datagramLoss.size + this.#linkLoss.size > 0)
      return undefined
    return between(this.#random, minimumDelayMs, maximumDelayMs)
  }

  /** How many copies of a packet arrive, as their delays. */
  delays(from: number, to: number, reliable: boolean): number[] {
    const { loss, duplication, reordering, holdMs, minimumDelayMs, maximumDelayMs } = this.faults
    const random = this.#random
    if (!reliable && this.datagramLoss.size > 0) {
      const lost = Math.max(this.datagramLoss.get(from) ?? 0, this.datagramLoss.get(to) ?? 0)
      if (chance(random, lost)) return []
    }
    const copies = !reliable && duplication > 0 && chance(random, duplication) ? 2 : 1
    const delays: number[] = []
    for (let i = 0; i < copies; i++) {
      if (loss > 0 && chance(random, loss)) continue
      if (this.#lostOneWay(from, to)) continue
      const held = reordering > 0 && chance(random, reordering) ? random.float() * holdMs : 0
      if (this.pathMs === undefined) delays.push(between(random, minimumDelayMs, maximumDelayMs) + held)
      else {
        const ms = this.pathMs(from, to)
        if (ms !== undefined) delays.push(ms * between(random, 1, 1.1) + held)
      }
    }
    return delays
  }

  #lostOneWay(from: number, to: number): boolean {
    const out = this.outgoingLoss.size === 0 ? 0 : (this.outgoingLoss.get(from) ?? 0)
    if (out > 0 && chance(this.#random, out)) return true
    const incoming = this.incomingLoss.size === 0 ? 0 : (this.incomingLoss.get(to) ?? 0)
    if (incoming > 0 && chance(this.#random, incoming)) return true
    const link = this.#linkLoss.size === 0 ? 0 : (this.#linkLoss.get(from * 2 ** 20 + to) ?? 0)
    return link > 0 && chance(this.#random, link)
  }
}
