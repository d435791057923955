import { deadline, deferred, onAbort, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import type { MetadataStore, Transaction } from '../interfaces/metadata-store.ts'
import { ControllerEpoch } from '../metadata/index.ts'
import type { NodeId } from '../model/ids.ts'
import type { RaftGroup } from '../raft/index.ts'
import type { LeaderDuties } from './leader-duties.ts'

const answerTimeoutMs = 5_000

/** What an office is made of. */
interface OfficeParts {
  readonly env: Environment
  readonly nodeId: NodeId
  readonly store: MetadataStore
  readonly group: RaftGroup
  /** Time after which duties that broke, or were not taken up, are tried again. */
  readonly retryMs: number
  /** Everything that a leader does, under its epoch. */
  readonly begin: (epoch: ControllerEpoch) => LeaderDuties
  /** A harmless write of this server, which shows whether its epoch still counts. */
  readonly lastWrite: () => Transaction
  /** The duties begin, or end. */
  readonly changed: (duties: LeaderDuties | undefined) => void
  /** What was tried under an epoch that ended was refused. */
  readonly deposed: (error: KeelsonError) => void
}

/**
 * The office of the control plane's leader: taken up with each term that this server leads, and laid down with it. Its
 * authority is the epoch, which every write of the duties carries in a compare; leading is only the reason to claim it.
 */
export class LeaderOffice {
  readonly #parts: OfficeParts
  #duties: LeaderDuties | undefined

  constructor(parts: OfficeParts) {
    this.#parts = parts
  }

  /** What this server does as leader; undefined while it is none. */
  get duties(): LeaderDuties | undefined {
    return this.#duties
  }

  /** Follows who leads until `signal` is aborted, and lays the duties down. */
  async run(signal: AbortSignal): Promise<void> {
    const { env, group, retryMs } = this.#parts
    let changed = deferred<void>()
    const off = group.on('token', () => changed.resolve())
    onAbort(signal, () => changed.resolve())
    let term: number | undefined
    /** Duties that cannot go on are laid down, and taken up under another epoch. */
    const renewWhenBroken = async (duties: LeaderDuties): Promise<void> => {
      const error = await duties.broken
      if (this.#duties !== duties || signal.aborted) return
      env.logger.warn({ error: error.toJSON() }, 'the duties of the leader are taken up anew')
      await sleep(env.timers, retryMs, signal).catch(() => {})
      if (this.#duties !== duties) return
      term = undefined
      changed.resolve()
    }
    while (!signal.aborted) {
      changed = deferred()
      const sequence = group.token()?.sequence
      if (sequence !== term) {
        await this.#layDown(signal)
        term = undefined
        if (sequence !== undefined) {
          try {
            await this.#takeUp(sequence, signal)
            term = sequence
            if (this.#duties !== undefined) void renewWhenBroken(this.#duties)
          } catch (thrown) {
            const error = toKeelsonError(thrown)
            env.logger.info({ error: error.toJSON() }, 'the duties of the leader were not taken up')
            await sleep(env.timers, retryMs, signal).catch(() => {})
            continue
          }
        }
      }
      await changed.promise
    }
    off()
    await this.#layDown(signal)
  }

  async #takeUp(sequence: number, signal: AbortSignal): Promise<void> {
    const { store, nodeId, group, begin, changed } = this.#parts
    await this.#inTime(signal, async (limit) => {
      const epoch = await ControllerEpoch.acquire(store, 'control-plane', nodeId, { signal: limit })
      // Leadership may have gone while the epoch was written: whoever has it now has a newer epoch soon.
      if (group.token()?.sequence !== sequence) return
      this.#duties = begin(epoch)
      changed(this.#duties)
    })
  }

  async #layDown(signal: AbortSignal): Promise<void> {
    const duties = this.#duties
    if (duties === undefined) return
    this.#duties = undefined
    this.#parts.changed(undefined)
    await duties.close()
    if (!signal.aborted) void this.#askWhetherDeposed(duties.epoch, signal)
  }

  /**
   * Tries one more write under the epoch that ended. Whoever stood still for a while and was deposed meanwhile learns it
   * here at the latest, and says so: the same fence would have refused anything else that was still under way.
   */
  async #askWhetherDeposed(epoch: ControllerEpoch, signal: AbortSignal): Promise<void> {
    const { env, lastWrite, deposed } = this.#parts
    try {
      await this.#inTime(signal, async (limit) => {
        await epoch.txn(lastWrite(), { signal: limit })
      })
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      if (error.code === 'STALE_EPOCH') deposed(error)
      else env.logger.info({ error: error.toJSON() }, 'whether this server was deposed is not known')
    }
  }

  async #inTime(signal: AbortSignal, act: (limit: AbortSignal) => Promise<void>): Promise<void> {
    const late = (): KeelsonError =>
      new KeelsonError(
        'TIMEOUT',
        'the store did not answer in time; see that most of the servers run and reach each other',
      )
    const limit = deadline(this.#parts.env.timers, answerTimeoutMs, late, signal)
    try {
      await act(limit.signal)
    } finally {
      limit.release()
    }
  }
}
