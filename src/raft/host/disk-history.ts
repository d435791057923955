import type { Random } from '../../core/random.ts'

/** A life of whoever had the log store of this disk open. */
export interface DiskLife {
  /** Drawn at random when it began; see {@link DiskHistory} for what else it says. */
  readonly life: number
  /** How much of the disk was durable then. */
  readonly openedAt: number
}

/** Lives that are kept where a store takes writes of usual size. */
const usualLives = 128
/** What a record takes beside its lives, and each of them. */
const recordBytes = 768
const lifeBytes = 19

/** So many lives fit into one write to a store that takes so many bytes. */
export function maximumLivesIn(writeBytes: number): number {
  return Math.max(2, Math.min(usualLives, Math.floor((writeBytes - recordBytes) / lifeBytes)))
}

const lineages = 2 ** 16
const livesOfLineage = 2 ** 34

function lineageOf(life: number): number {
  return Math.floor(life / livesOfLineage)
}

/** A tool opened the store, which tells nobody how far the disk is. */
function isTool({ life }: DiskLife): boolean {
  return life % livesOfLineage === 0
}

/**
 * The lives that a disk has seen, from the oldest that is kept to the present one, as the disk itself tells them. Each is
 * on it before anybody hears of it. So whatever somebody has heard a life had, the disk had when the next one began; and a life
 * that the disk does not know told nobody anything, was forgotten because others came after it, or was lost with an image
 * that came back.
 *
 * The number of a life begins with that of its lineage, which changes when a tool recovers a group from a lost quorum: so
 * of a life that is not here any more it can be told whether it came before that.
 *
 * Positions grow from life to life, as nothing on the disk is older than what was there before it.
 */
export class DiskHistory {
  /** Oldest first. */
  readonly lives: readonly DiskLife[]

  constructor(lives: readonly DiskLife[] = []) {
    this.lives = lives
  }

  /** The one that goes on. */
  get present(): DiskLife | undefined {
    return this.lives.at(-1)
  }

  /** A host has opened the store. */
  begun(random: Random, openedAt: number, maximumLives: number): DiskHistory {
    const life = this.#lineage(random) * livesOfLineage + 1 + random.integer(livesOfLineage - 1)
    return new DiskHistory(this.kept([...this.lives, { life, openedAt }], maximumLives))
  }

  /**
   * A tool has opened the store. One that comes right after another one needs no place of its own: nobody has heard of
   * anything in between.
   *
   * @param recovers it recovers a group from a lost quorum
   */
  visited(random: Random, openedAt: number, recovers: boolean, maximumLives: number): DiskHistory {
    const { present } = this
    const follows = present !== undefined && isTool(present)
    if (follows && !recovers) return this
    const before = follows ? this.lives.slice(0, -1) : this.lives
    const lineage = recovers ? this.#otherLineage(random) : this.#lineage(random)
    const visit = { life: lineage * livesOfLineage, openedAt: follows ? present.openedAt : openedAt }
    return new DiskHistory(this.kept([...before, visit], maximumLives))
  }

  /**
   * How far the disk had got when a life ended: no later one wrote before it. Of a life that is not here, the least that it can
   * have been: one that others have driven out ended before the oldest that is kept; one that was lost with an image told of
   * more, and only after that one had begun.
   *
   * @param own how far the disk is now
   * @internal
   */
  reachedIn(life: number, own: number | undefined): number | undefined {
    const at = this.#indexOf(life)
    if (at >= 0 && at === this.lives.length - 1) return own
    return this.lives[at < 0 ? 0 : at + 1]?.openedAt
  }

  /**
   * Whatever was written from this position on was written after the disk had forgotten something that it had in a life: a
   * group that was recovered from a lost quorum there, or later, relies on nothing of it. Where that is not known, it lies
   * behind everything that was there when the present life began.
   */
  settledFrom(life: number): number {
    const known = this.#indexOf(life)
    const lineage = lineageOf(life)
    const last = known >= 0 ? known : this.lives.findLastIndex((other) => lineageOf(other.life) === lineage)
    const next = last < 0 ? undefined : this.lives[last + 1]
    return next?.openedAt ?? (this.present?.openedAt ?? 0) + 1
  }

  /** Those that came first go first. @internal */
  kept(lives: readonly DiskLife[], maximumLives: number): readonly DiskLife[] {
    return lives.slice(-maximumLives)
  }

  #indexOf(life: number): number {
    return this.lives.findLastIndex((other) => other.life === life)
  }

  #lineage(random: Random): number {
    return this.present === undefined ? random.integer(lineages) : lineageOf(this.present.life)
  }

  #otherLineage(random: Random): number {
    const used = new Set(this.lives.map(({ life }) => lineageOf(life)))
    let lineage = random.integer(lineages)
    while (used.has(lineage)) lineage = (lineage + 1) % lineages
    return lineage
  }
}
