import { deadline, deferred, onAbort, sleep } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import type { MetadataStore, Transaction } from '../interfaces/metadata-store.ts'
import { ControllerEpoch, pendingImport } from '../metadata/index.ts'
import type { NodeId } from '../model/ids.ts'
import type { RaftGroup } from '../raft/index.ts'
import { type ImportWatch, waitsForImport } from './import-watch.ts'
import type { LeaderDuties } from './leader-duties.ts'

const answerTimeoutMs = 5_000
/** How often a leader says that it waits for a backup. */
const complainMs = 60_000

/** What an office is made of. */
interface OfficeParts {
  readonly env: Environment
  readonly nodeId: NodeId
  readonly store: MetadataStore
  readonly group: RaftGroup
  /** While the metadata is incomplete nobody has any duties. */
  readonly imports: ImportWatch
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
 *
 * Nobody takes it up while a backup is being brought back: what a part of the metadata says is not true. An import ends the epoch that
 * there is in the transaction that begins it, and whoever acquires one afterwards sees the mark.
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
    const { env, group, retryMs, imports } = this.#parts
    let changed = deferred<void>()
    const off = group.on('token', () => changed.resolve())
    const offImports = imports.onChange(() => changed.resolve())
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
      let complaint: TimerHandle | undefined
      if (sequence !== term || (term !== undefined && imports.pending !== undefined)) {
        await this.#layDown(signal)
        term = undefined
        if (sequence !== undefined) {
          try {
            if (await this.#takeUp(sequence, signal)) {
              term = sequence
              if (this.#duties !== undefined) void renewWhenBroken(this.#duties)
            } else complaint = env.timers.schedule(complainMs, () => changed.resolve())
          } catch (thrown) {
            const error = toKeelsonError(thrown)
            env.logger.info({ error: error.toJSON() }, 'the duties of the leader were not taken up')
            await sleep(env.timers, retryMs, signal).catch(() => {})
            continue
          }
        }
      }
      await changed.promise
      complaint?.cancel()
    }
    off()
    offImports()
    await this.#layDown(signal)
  }

  /** @returns false when the metadata is incomplete */
  async #takeUp(sequence: number, signal: AbortSignal): Promise<boolean> {
    const { env, store, nodeId, group, begin, changed } = this.#parts
    return this.#inTime(signal, async (limit) => {
      const epoch = await ControllerEpoch.acquire(store, 'control-plane', nodeId, { signal: limit })
      // Read behind the epoch: an import that begins later ends it.
      const incomplete = await pendingImport(store, { signal: limit })
      if (incomplete !== undefined) {
        env.logger.warn({ revision: incomplete.revision }, waitsForImport(incomplete))
        return false
      }
      // Leadership may have gone while the epoch was written: whoever has it now has a newer epoch soon.
      if (group.token()?.sequence !== sequence) return true
      this.#duties = begin(epoch)
      changed(this.#duties)
      return true
    })
  }

  async #layDown(signal: AbortSignal): Promise<void> {
    const duties = this.#duties
    if (duties === undefined) return
    this.#duties = undefined
    this.#parts.changed(undefined)
    await duties.close()
    const deposedByImport = this.#parts.imports.pending !== undefined
    if (!signal.aborted && !deposedByImport) void this.#askWhetherDeposed(duties.epoch, signal)
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

  async #inTime<T>(signal: AbortSignal, act: (limit: AbortSignal) => Promise<T>): Promise<T> {
    const late = (): KeelsonError =>
      new KeelsonError(
        'TIMEOUT',
        'the store did not answer in time; see that most of the servers run and reach each other',
      )
    const limit = deadline(this.#parts.env.timers, answerTimeoutMs, late, signal)
    try {
      return await act(limit.signal)
    } finally {
      limit.release()
    }
  }
}
