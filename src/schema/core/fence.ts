import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'

/**
 * A range's side of a schema change: the oldest version of a table that it still takes, and the highest epoch of a
 * coordinator that has worked on it. A part of the range's replicated state, one for each table with rows in it. Pure and
 * immutable: the state machine stores the two numbers with the rows, and makes the fence from them again.
 *
 * The pin of a node is not enough. A node that lags and has lost its epoch is not waited for: its schema lease is revoked
 * in the store, while the node itself, which hears of nothing, counts on for as long as its lease was granted. So the
 * version of whatever it planned is compared where it takes effect, in the order of the range's log; and the version of
 * whoever reads by an index is compared with the very state that was read.
 *
 * Invariant: neither number ever goes back.
 */
export class SchemaFence {
  /** Effects and reads that were planned under an older version are refused; 0 before the first barrier. */
  readonly minimumVersion: number
  /** Chunks of a coordinator with a lower epoch are refused; 0 before the first chunk. */
  readonly epoch: number

  /** From what was stored with the rows. @throws KeelsonError `INVALID_ARGUMENT` for what no fence can hold */
  constructor(stored: { readonly minimumVersion?: number; readonly epoch?: number } = {}) {
    const { minimumVersion = 0, epoch = 0 } = stored
    for (const number of [minimumVersion, epoch]) {
      if (Number.isSafeInteger(number) && number >= 0) continue
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a version and an epoch are integers of at least 0, not ${showValue(number)}`,
      )
    }
    this.minimumVersion = minimumVersion
    this.epoch = epoch
  }

  /** Why work that was planned under this version of the table is refused (`STALE_SCHEMA`); undefined when it is not. */
  refusal(version: number): KeelsonError | undefined {
    if (version >= this.minimumVersion) return undefined
    return new KeelsonError(
      'STALE_SCHEMA',
      `planned under schema version ${version}; this range takes ${this.minimumVersion} and later. Plan it again`,
      { details: { version, minimumVersion: this.minimumVersion } },
    )
  }

  /** {@link SchemaFence.refusal}, thrown: for reads. @throws KeelsonError `STALE_SCHEMA` */
  check(version: number): void {
    const refusal = this.refusal(version)
    if (refusal !== undefined) throw refusal
  }

  /** Why a coordinator's chunk is refused (`STALE_EPOCH`); undefined when it is not. */
  refusalOfChunk(epoch: number): KeelsonError | undefined {
    if (epoch >= this.epoch) return undefined
    return new KeelsonError(
      'STALE_EPOCH',
      `the schema coordinator's epoch ${epoch} was followed by ${this.epoch}; it stops`,
      { details: { epoch, newest: this.epoch } },
    )
  }

  /**
   * The fence after a chunk that was not refused: a barrier brings its table's version as `minimumVersion`, every chunk its
   * epoch. Also for a range that is made of others: it begins with the highest numbers among them.
   */
  raised(to: { readonly minimumVersion?: number; readonly epoch?: number }): SchemaFence {
    return new SchemaFence({
      minimumVersion: Math.max(this.minimumVersion, to.minimumVersion ?? 0),
      epoch: Math.max(this.epoch, to.epoch ?? 0),
    })
  }
}
