import type { RaftCoreSetup } from './setup.ts'
import { RaftState } from './state.ts'

/**
 * What a voter promises so that its leader may answer reads alone: to vote for nobody for a while. The promise counts from
 * when the leader's request came in, the leader's lease from when it was sent, so with clocks whose rates are within
 * 1 ± the drift bound the lease ends first (Gray and Cheriton 1989; Ongaro's thesis, section 6.4.1, with promises in the
 * place of its bound on election timeouts).
 *
 * A pledge is made to (group, term, leader) and kept by refusing everybody: whoever wins an election needs a vote of each
 * quorum that gave a lease.
 */
export abstract class RaftPledges extends RaftState {
  /** Until then this replica votes for nobody, itself included. Never goes back, whatever happens to the term. */
  pledgedUntilMs: number = -Infinity
  /** Nothing is said, and no timer runs here: the host watches over the nodes of the others. */
  atRest = false
  /** The epoch under which this node pledges itself for this replica to the leader that it follows; 0 for none. */
  coverEpoch = 0

  constructor(setup: RaftCoreSetup) {
    super(setup)
    this.pledgeAtStart(setup.restored.pledgedMs ?? 0)
  }

  /** Leases need a bound on the drift of clocks, and are used only where somebody has given one. */
  leasesAreOn(): boolean {
    return this.options.leaseMs > 0 && this.options.clockDriftBound > 0
  }

  /** An earlier life may have pledged itself just before it ended, and for longer than this one does. */
  pledgeAtStart(formerMs: number): void {
    this.pledge()
    if (formerMs > 0) this.pledgedUntilMs = Math.max(this.pledgedUntilMs, this.nowMs + formerMs)
  }

  /** From now on, for as long as any lease lasts that counts on it. */
  pledge(): void {
    if (!this.leasesAreOn()) return
    this.pledgedUntilMs = Math.max(this.pledgedUntilMs, this.nowMs + this.pledgeDurationMs())
  }

  /** A clock that is fast by the bound still measures the whole lease. */
  pledgeDurationMs(): number {
    return this.options.leaseMs * (1 + this.options.clockDriftBound)
  }

  isPledged(): boolean {
    return this.nowMs < this.pledgedUntilMs || (this.leasesAreOn() && this.isCovered())
  }

  isCovered(): boolean {
    return this.coverEpoch !== 0
  }

  /**
   * What an answer to the leader says of the pledge that was made with it. Before anything of this replica is durable, for how
   * long it pledges itself is not either, and a next life would not know.
   */
  pledgedMs(): number {
    return this.leasesAreOn() && this.durableTerm > 0 ? this.options.leaseMs : 0
  }
}
