import type { Logger } from '../core/logger.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import { followPendingImport, type PendingImport } from '../metadata/index.ts'

/** Follows whether the metadata waits for a backup, or for the rest of one, as this server's replica has it. */
export class ImportWatch {
  readonly #store: MetadataStore
  readonly #logger: Logger
  readonly #listeners = new Set<() => void>()
  #pending: PendingImport | undefined

  constructor(store: MetadataStore, logger: Logger) {
    this.#store = store
    this.#logger = logger
  }

  /** What the metadata waits for; undefined when it is complete, and before it was read. */
  get pending(): PendingImport | undefined {
    return this.#pending
  }

  /** Calls when an import begins or ends. @returns what ends that */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Follows it until `signal` is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const pending of followPendingImport(this.#store, { signal, consistency: 'local' })) {
      const isOver = this.#pending !== undefined && pending === undefined
      this.#pending = pending
      if (isOver) this.#logger.info({}, 'the metadata is complete: no backup is waited for any more')
      for (const listener of this.#listeners) listener()
    }
  }
}

/** What the leader of an incomplete cluster says, again and again. */
export function waitsForImport({ revision }: PendingImport): string {
  return revision === undefined
    ? 'the control plane waits for its backup, and controls nothing before: run importBackup, or abandonImport where there is none'
    : `the control plane waits for the rest of the backup of revision ${revision}, and controls nothing before: when no import runs, repeat importBackup with that backup, or give up what is missing by abandonImport`
}
