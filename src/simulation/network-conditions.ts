import { checkOptions, numberOption, optional } from '../core/options.ts'
import type { SeededRandom } from '../core/random.ts'
import type { FaultCounts } from './fault-counts.ts'
import type { BlockedLink } from './partitions.ts'

/** How messages fare on a link. Probabilities are per message. */
export interface LinkQuality {
  /** Least time under way, in milliseconds. */
  readonly minimumDelayMs: number
  /** Mean of the additional time under way, exponentially distributed. */
  readonly meanExtraDelayMs: number
  /** Chance that a message never arrives. */
  readonly lossProbability: number
  /** Chance that a message arrives twice. */
  readonly duplicateProbability: number
  /** A message that is hit takes {@link LinkQuality.reorderDelayMs} longer at most and lets later ones pass. */
  readonly reorderProbability: number
  /** Longest additional time of a message that is hit. */
  readonly reorderDelayMs: number
}

/** A good local network. */
export const linkDefaults: LinkQuality = Object.freeze({
  minimumDelayMs: 0.1,
  meanExtraDelayMs: 0.2,
  lossProbability: 0,
  duplicateProbability: 0,
  reorderProbability: 0,
  reorderDelayMs: 50,
})

/** @throws KeelsonError `INVALID_OPTION` */
function checkQuality(quality: Partial<LinkQuality>): Partial<LinkQuality> {
  const delay = optional(numberOption({ min: 0 }))
  const probability = optional(numberOption({ min: 0, max: 1 }))
  return checkOptions<{ readonly [K in keyof LinkQuality]: number | undefined }>(
    'the quality of a link',
    quality,
    {
      minimumDelayMs: delay,
      meanExtraDelayMs: delay,
      lossProbability: probability,
      duplicateProbability: probability,
      reorderProbability: probability,
      reorderDelayMs: delay,
    },
  ) as Partial<LinkQuality>
}

interface LinkState {
  blocked: number
  clogged: number
  quality: LinkQuality | undefined
  readonly random: SeededRandom
}

/**
 * The state of all links between processes, by name: quality, partitions and clogs. Networks ask it for each message.
 *
 * Partitions stack: a link works again when every partition that blocks it has been healed. A clogged link loses
 * nothing: it holds messages back until it is unclogged.
 */
export class NetworkConditions {
  readonly #links = new Map<string, Map<string, LinkState>>()
  readonly #random: SeededRandom
  readonly #counts: FaultCounts
  readonly #listeners = new Set<() => void>()
  #quality: LinkQuality

  /** Links without partitions and clogs; `quality` overrides the defaults. */
  constructor(random: SeededRandom, counts: FaultCounts, quality: Partial<LinkQuality> = {}) {
    this.#random = random
    this.#counts = counts
    this.#quality = { ...linkDefaults, ...checkQuality(quality) }
  }

  /** Quality of all links that have none of their own. */
  get quality(): LinkQuality {
    return this.#quality
  }

  /** Changes the quality of all links that have none of their own; what is not given stays. */
  setQuality(quality: Partial<LinkQuality>): void {
    this.#quality = { ...this.#quality, ...checkQuality(quality) }
  }

  /** Gives one direction a quality of its own, or with `undefined` the common one again. */
  setLinkQuality(from: string, to: string, quality: Partial<LinkQuality> | undefined): void {
    this.#link(from, to).quality =
      quality === undefined ? undefined : { ...this.#quality, ...checkQuality(quality) }
  }

  /** Quality of the link in this direction. */
  linkQuality(from: string, to: string): LinkQuality {
    return this.#link(from, to).quality ?? this.#quality
  }

  /** Cuts these links and returns what joins them again. */
  partition(links: readonly BlockedLink[]): () => void {
    for (const [from, to] of links) this.#link(from, to).blocked++
    this.#changed()
    let healed = false
    return () => {
      if (healed) return
      healed = true
      for (const [from, to] of links) {
        const link = this.#link(from, to)
        if (link.blocked > 0) link.blocked--
      }
      this.#changed()
    }
  }

  /** Holds back what is sent on these links and returns what lets it go. */
  clog(links: readonly BlockedLink[]): () => void {
    for (const [from, to] of links) this.#link(from, to).clogged++
    this.#changed()
    let open = false
    return () => {
      if (open) return
      open = true
      for (const [from, to] of links) {
        const link = this.#link(from, to)
        if (link.clogged > 0) link.clogged--
      }
      this.#changed()
    }
  }

  /** True while a partition blocks the link in this direction. */
  isBlocked(from: string, to: string): boolean {
    return this.#link(from, to).blocked > 0
  }

  /** True while the link in this direction is clogged. */
  isClogged(from: string, to: string): boolean {
    return this.#link(from, to).clogged > 0
  }

  /** Ends all partitions and clogs and makes every link a good one. */
  heal(quality: Partial<LinkQuality> = linkDefaults): void {
    for (const links of this.#links.values()) {
      for (const link of links.values()) {
        link.blocked = 0
        link.clogged = 0
        link.quality = undefined
      }
    }
    this.#quality = { ...linkDefaults, ...checkQuality(quality) }
    this.#changed()
  }

  /** Calls `listener` when partitions or clogs change, until the function that is returned is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** @internal The generator of one direction, for delays and losses. */
  random(from: string, to: string): SeededRandom {
    return this.#link(from, to).random
  }

  /** @internal Draws the time under way of one message. */
  drawDelayMs(from: string, to: string): number {
    const link = this.#link(from, to)
    const quality = link.quality ?? this.#quality
    const extra =
      quality.meanExtraDelayMs === 0 ? 0 : -Math.log(1 - link.random.float()) * quality.meanExtraDelayMs
    return quality.minimumDelayMs + extra
  }

  /** @internal */
  count(kind: string): void {
    this.#counts.add(kind)
  }

  #link(from: string, to: string): LinkState {
    let row = this.#links.get(from)
    if (row === undefined) {
      row = new Map()
      this.#links.set(from, row)
    }
    let link = row.get(to)
    if (link === undefined) {
      link = { blocked: 0, clogged: 0, quality: undefined, random: this.#random.child(`${from}>${to}`) }
      row.set(to, link)
    }
    return link
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
