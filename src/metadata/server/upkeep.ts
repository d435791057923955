import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { encodeCommand } from '../mvcc/commands.ts'
import type { MetadataStateMachine } from '../mvcc/state-machine.ts'
import type { MetadataGroup } from './group.ts'

/** What an {@link Upkeep} is made of. */
export interface UpkeepOptions {
  readonly env: Environment
  readonly group: MetadataGroup
  readonly machine: MetadataStateMachine
  /** Revisions whose history is kept. */
  readonly historyRevisions: number
  readonly quotaBytes: number
}

/** Part of the quota beyond which less history is kept. */
const scarceFrom = 0.75
/** Part of the history that is kept then. */
const scarceHistory = 0.1
/** After a failure. */
const retryMs = 1_000

/**
 * What the leader does about the size of the store: compacts history that is older than it is to be kept, and clears
 * away what compactions left, in slices that never hold up other commands for long.
 */
export class Upkeep {
  readonly #options: UpkeepOptions
  readonly #stopListening: () => void
  #running = false
  #retry: TimerHandle | undefined
  #closed = false

  constructor(options: UpkeepOptions) {
    this.#options = options
    this.#stopListening = options.machine.onApplied(() => this.#look())
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true
    this.#retry?.cancel()
    this.#stopListening()
  }

  #look(): void {
    if (this.#closed || this.#running || this.#retry !== undefined) return
    if (this.#next() === undefined || this.#options.group.token() === undefined) return
    this.#running = true
    void this.#run()
  }

  /** The next command that is due. */
  #next(): Uint8Array | undefined {
    const { machine, historyRevisions, quotaBytes } = this.#options
    if (machine.hasGarbage) return encodeCommand({ type: 'clear' })
    const { revision, compactRevision } = machine.reader
    const scarce = machine.bytes > quotaBytes * scarceFrom
    const keep = Math.floor(historyRevisions * (scarce ? scarceHistory : 1))
    // A quarter more, so that one compaction does for many revisions.
    if (revision - compactRevision <= keep * 1.25 + 1) return undefined
    return encodeCommand({ type: 'compact', revision: revision - keep })
  }

  async #run(): Promise<void> {
    const { env, group } = this.#options
    try {
      for (let command = this.#next(); command !== undefined && !this.#closed; command = this.#next()) {
        const token = group.token()
        if (token === undefined) return
        await group.propose(command, { token })
      }
    } catch (error) {
      env.logger.debug({ error }, 'the store could not be compacted yet')
      this.#retry = env.timers.schedule(retryMs, () => {
        this.#retry = undefined
        this.#look()
      })
    } finally {
      this.#running = false
    }
  }
}
