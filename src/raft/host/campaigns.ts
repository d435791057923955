/** What {@link Campaigns} sees of a replica. */
export interface Campaigner {
  readonly stopped: boolean
  /** It asks for votes. */
  isCampaigning(): boolean
  /** Somebody waits for an answer of it. */
  readonly isAsked: boolean
  /** Its election timer has run out. */
  isElectionDue(nowMs: number): boolean
}

/** Few enough to be over before the timer of any of them runs out. */
const maximumCampaigns = 128

/**
 * How many replicas of a host ask for votes at the same time. When a node is lost, or a machine cannot keep up, the election
 * timers of thousands of groups run out together. If all of them campaigned, the answers to each would come only after its
 * timer has run out once more, and nobody would ever be elected. So the others wait, which costs nothing, and is
 * always allowed: a replica that waits votes for others, and whoever hears of a leader meanwhile need not campaign at all.
 *
 * Those that somebody waits for do not wait here. Those that have not campaigned yet come before those whose campaign came
 * to nothing, as a group without a quorum may try for ever.
 */
export class Campaigns<R extends Campaigner> {
  readonly #maximum: number
  readonly #running = new Set<R>()
  readonly #first = new Set<R>()
  readonly #again = new Set<R>()

  constructor(maximum: number = maximumCampaigns) {
    this.#maximum = maximum
  }

  /** Whether somebody waits for a place. */
  get areWaiting(): boolean {
    return this.#first.size + this.#again.size > 0
  }

  /** @returns whether the replica, for which a time has come, may do now what it has to do; else it waits here */
  admit(replica: R, nowMs: number): boolean {
    if (!replica.isElectionDue(nowMs) || replica.isAsked) return true
    this.#running.delete(replica)
    const waiting = replica.isCampaigning() ? this.#again : this.#first
    waiting.add(replica)
    return false
  }

  /** The replicas that have waited and have a place now, or need none any more. */
  next(nowMs: number): R[] {
    const admitted: R[] = []
    if (!this.areWaiting) return admitted
    for (const replica of this.#running)
      if (replica.stopped || !replica.isCampaigning()) this.#running.delete(replica)
    for (const waiting of [this.#first, this.#again]) {
      for (const replica of waiting) {
        if (this.#running.size >= this.#maximum) return admitted
        waiting.delete(replica)
        admitted.push(replica)
        if (replica.isElectionDue(nowMs)) this.#running.add(replica)
      }
    }
    return admitted
  }

  remove(replica: R): void {
    for (const some of [this.#running, this.#first, this.#again]) some.delete(replica)
  }

  clear(): void {
    for (const some of [this.#running, this.#first, this.#again]) some.clear()
  }
}
