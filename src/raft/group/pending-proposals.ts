import { KeelsonError } from '../../core/errors.ts'
import type { EntryKind, LogEntry } from '../../interfaces/log-store.ts'
import type { EntryOutcome } from './outcomes.ts'

/** Something that was proposed here and whose caller waits. It is also what the core appends. */
export interface PendingProposal {
  readonly kind: EntryKind
  readonly data: Uint8Array
  /**
   * Where this replica does not lead, it goes to the leader: `once`, or `repeatedly` until its outcome is known, which is
   * for what takes effect once however often it arrives. Undefined: it is refused.
   */
  readonly forward?: 'once' | 'repeatedly' | undefined
  /** Log index and term, once it is appended; 0 before. */
  index: number
  term: number
  /** An attempt elsewhere, whose answer was never heard, may have taken effect: the refusal of another says nothing of it. */
  uncertain?: boolean
  /** Gets the outcome, once. Must not throw. */
  settle: ((outcome: EntryOutcome, index: number) => void) | undefined
}

/**
 * The proposals of one replica, from the call to the outcome: first those that wait for the end of the turn, to be
 * appended together, then those in the log that wait to be applied.
 *
 * Invariant: the indexes of the appended ones grow.
 */
export class PendingProposals {
  #waiting: PendingProposal[] = []
  #appended: PendingProposal[] = []
  #head = 0
  #count = 0
  #bytes = 0

  /** Proposals whose outcome is open. */
  get count(): number {
    return this.#count
  }

  /** Bytes of their data. */
  get bytes(): number {
    return this.#bytes
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0
  }

  get hasAppended(): boolean {
    return this.#head < this.#appended.length
  }

  add(proposal: PendingProposal): void {
    this.#waiting.push(proposal)
    this.#count++
    this.#bytes += proposal.data.length
  }

  /**
   * Those that wait to be appended, the first ones up to `maximumBytes` but at least one. The caller settles them or gives
   * them to {@link PendingProposals.appended}.
   */
  takeWaiting(maximumBytes: number = Number.POSITIVE_INFINITY): PendingProposal[] {
    const waiting = this.#waiting
    let bytes = 0
    let count = 0
    while (count < waiting.length) {
      bytes += (waiting[count] as PendingProposal).data.length
      if (bytes > maximumBytes && count > 0) break
      count++
    }
    if (count < waiting.length) return waiting.splice(0, count)
    this.#waiting = []
    return waiting
  }

  /** The core appended these, one after the other. */
  appended(proposals: readonly PendingProposal[], firstIndex: number, term: number): void {
    this.#replaced(firstIndex)
    let index = firstIndex
    for (const proposal of proposals) {
      proposal.index = index++
      proposal.term = term
      this.#appended.push(proposal)
    }
  }

  /** Entries were applied: those that were proposed here get their outcomes. */
  applied(entries: readonly LogEntry[], outcomes: { at(place: number): EntryOutcome | undefined }): void {
    if (!this.hasAppended) return
    const first = entries[0] as LogEntry
    const last = entries.at(-1) as LogEntry
    for (;;) {
      const proposal = this.#appended[this.#head]
      if (proposal === undefined || proposal.index > last.index) break
      this.#advance()
      const at = proposal.index - first.index
      if (at < 0) this.settle(proposal, outcomeUnknown('a snapshot took the place of its log entry'))
      else if ((entries[at] as LogEntry).term !== proposal.term) this.settle(proposal, replacedByOther())
      else this.settle(proposal, outcomes.at(at))
    }
  }

  /** The state was replaced by a snapshot that reaches up to `index`. */
  skippedTo(index: number): void {
    while (this.hasAppended && (this.#appended[this.#head] as PendingProposal).index <= index) {
      const proposal = this.#appended[this.#head] as PendingProposal
      this.#advance()
      this.settle(proposal, outcomeUnknown('a snapshot took the place of its log entry'))
    }
  }

  /** Term of the oldest one in the log. */
  get oldestTerm(): number | undefined {
    return this.#appended[this.#head]?.term
  }

  /** Ends those that were not appended: they had no effect. */
  failWaiting(error: KeelsonError): void {
    for (const proposal of this.takeWaiting()) this.settle(proposal, error)
  }

  /** Ends those that were appended in a term below `term`. */
  failAppended(term: number, error: KeelsonError): void {
    while ((this.oldestTerm ?? term) < term) {
      const proposal = this.#appended[this.#head] as PendingProposal
      this.#advance()
      this.settle(proposal, error)
    }
  }

  /** The caller went away. What was appended stays in the log, and may take effect. @returns how it stands */
  abandon(proposal: PendingProposal): 'none' | 'unknown' {
    if (proposal.index > 0) {
      proposal.settle = undefined
      return 'unknown'
    }
    const at = this.#waiting.indexOf(proposal)
    if (at >= 0) this.#waiting.splice(at, 1)
    this.settle(proposal, undefined)
    return proposal.uncertain === true ? 'unknown' : 'none'
  }

  /** Hands a proposal that is in neither list any more its outcome. */
  settle(proposal: PendingProposal, outcome: EntryOutcome | undefined): void {
    this.#count--
    this.#bytes -= proposal.data.length
    const { settle } = proposal
    proposal.settle = undefined
    if (outcome !== undefined) settle?.(outcomeOf(proposal, outcome), proposal.index)
  }

  /**
   * New entries take indexes from `index` on: what stood there was cut off this log. It may have survived elsewhere, and
   * even be committed later, so nothing is known about it.
   */
  #replaced(index: number): void {
    while (this.hasAppended && (this.#appended.at(-1) as PendingProposal).index >= index) {
      const proposal = this.#appended.pop() as PendingProposal
      this.settle(proposal, outcomeUnknown('leadership was lost before it was committed'))
    }
  }

  #advance(): void {
    this.#head++
    if (this.#head === this.#appended.length) {
      this.#appended = []
      this.#head = 0
    } else if (this.#head >= 4096) {
      this.#appended.splice(0, this.#head)
      this.#head = 0
    }
  }
}

/** The proposal was appended, and what became of it is not known here. */
export function outcomeUnknown(reason: string, cause?: unknown): KeelsonError {
  return new KeelsonError(
    'OUTCOME_UNKNOWN',
    `the proposal may or may not take effect: ${reason}. Try again with the same command id`,
    { cause },
  )
}

/**
 * What the caller may be told. Only the fence speaks for all attempts: it is asked after the session, so none of them has
 * taken effect, and it never admits a sequence again.
 */
export function outcomeOf({ uncertain }: PendingProposal, outcome: EntryOutcome): EntryOutcome {
  if (uncertain !== true || !KeelsonError.is(outcome) || outcome.outcome === 'unknown') return outcome
  if (outcome.code === 'STALE_SEQUENCE') return outcome
  return outcomeUnknown(
    `an earlier attempt was not answered, and this one failed: ${outcome.message}`,
    outcome,
  )
}

function replacedByOther(): KeelsonError {
  return new KeelsonError(
    'NOT_LEADER',
    'leadership was lost and another leader committed a different entry in the place of this proposal: it had no effect',
  )
}
