import { KeelsonError } from '../../core/errors.ts'
import { entryKinds } from '../../interfaces/log-store.ts'
import {
  batchBytes,
  encodeBatchEnvelope,
  fullBatchBytes,
  maximumBatchCommands,
  type SequencedCommand,
} from './batch-envelope.ts'
import { encodeEnvelope } from './envelope.ts'
import type { CommandResult, EntryOutcome } from './outcomes.ts'
import type { PendingProposal } from './pending-proposals.ts'

/** What the commands of one call have in common. */
export interface BatchHeader {
  readonly tokenSequence: number
  readonly session: number
  readonly acknowledgedBelow: number
}

/** How commands may go into the log. */
export interface BatchLimits {
  /** Every member reads entries of several commands. */
  readonly together: boolean
  /** Largest data of one entry. */
  readonly entryBytes: number
  /** A command that the state machine wants to apply alone. */
  readonly alone: (command: Uint8Array) => boolean
}

/** Neighbours in the list of commands that make one entry: from `from` up to but without `to`. */
interface Stretch {
  readonly from: number
  readonly to: number
}

/** Cuts a list of commands into entries, in order. */
export function stretchesOf(commands: readonly SequencedCommand[], limits: BatchLimits): Stretch[] {
  const maximumBytes = Math.min(fullBatchBytes, limits.entryBytes)
  const stretches: Stretch[] = []
  let from = 0
  let bytes = 0
  let closed = false
  commands.forEach(({ data }, i) => {
    const count = i - from
    const alone = !limits.together || limits.alone(data)
    const full = count >= maximumBatchCommands || batchBytes(count + 1, bytes + data.length) > maximumBytes
    if (count > 0 && (closed || alone || full)) {
      stretches.push({ from, to: i })
      from = i
      bytes = 0
    }
    bytes += data.length
    closed = alone
  })
  if (from < commands.length) stretches.push({ from, to: commands.length })
  return stretches
}

/** Several commands of a client session on their way through the log, in as few entries as they fit into. */
export class BatchProposal {
  readonly #commands: readonly SequencedCommand[]
  readonly #header: BatchHeader
  readonly #outcomes: CommandResult[] = []
  readonly #done: (outcomes: readonly CommandResult[]) => void
  #left: number

  /** `done` is called once, with one outcome per command. */
  constructor(
    commands: readonly SequencedCommand[],
    header: BatchHeader,
    done: (outcomes: readonly CommandResult[]) => void,
  ) {
    this.#commands = commands
    this.#header = header
    this.#done = done
    this.#left = commands.length
  }

  /** The proposals of its entries. Each of them is proposed, or ended by {@link BatchProposal.fail}. */
  entries(limits: BatchLimits): PendingProposal[] {
    if (this.#left === 0) this.#done(this.#outcomes)
    return stretchesOf(this.#commands, limits).map((stretch) => ({
      kind: entryKinds.command,
      data: this.#encode(stretch),
      index: 0,
      term: 0,
      settle: (outcome) => this.#settle(stretch, outcome),
    }))
  }

  #encode({ from, to }: Stretch): Uint8Array {
    const { tokenSequence, session, acknowledgedBelow } = this.#header
    if (to - from > 1)
      return encodeBatchEnvelope({ ...this.#header, commands: this.#commands.slice(from, to) })
    const { sequence, data } = this.#commands[from] as SequencedCommand
    return encodeEnvelope(data, tokenSequence, { session, sequence }, acknowledgedBelow)
  }

  #settle({ from, to }: Stretch, outcome: EntryOutcome): void {
    const single = outcome instanceof KeelsonError || outcome instanceof Uint8Array
    for (let i = from; i < to; i++)
      this.#outcomes[i] = single ? outcome : (outcome[i - from] as CommandResult)
    this.#left -= to - from
    if (this.#left === 0) this.#done(this.#outcomes)
  }
}
