import { invariant } from '../../core/invariant.ts'
import type { Bookkeeping } from '../../interfaces/state-machine.ts'
import type { ReplicaId } from '../../model/ids.ts'
import type { PositionedSnapshot } from './applier.ts'
import { encodeGroupMetadata } from './metadata.ts'
import { ReplicaInputs } from './replica-inputs.ts'

/** How a replica gives snapshots away and takes them in. */
export abstract class ReplicaSnapshots extends ReplicaInputs {
  async takeSnapshot(): Promise<PositionedSnapshot> {
    return this.applier.snapshot()
  }

  /** Keeps what follows on a snapshot in the log while that is on its way, within limits. @returns the end of it */
  holdLog(index: number): () => void {
    return this.compactor.pin(index)
  }

  /** Notes durably that a snapshot may be replacing the state from now on. */
  async beginRestore(): Promise<void> {
    if (this.failed !== undefined) throw this.failed
    this.stored = { ...this.stored, restoring: true }
    const metadata = encodeGroupMetadata(this.stored)
    await this.port.write(this, { groupId: this.groupId, metadata })
  }

  /** Switches the state machine to a snapshot, then log and core. When it throws, the old state is there still. */
  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const restored = await this.applier.restore(bookkeeping, chunks)
    if (this.failed !== undefined) throw this.failed
    const { applied, configuration } = this.applier
    invariant(configuration !== undefined, 'an applied state has a configuration')
    this.stored = { ...this.stored, restoring: false }
    this.metadataDirty = true
    this.guarded(() => {
      if (!restored) {
        this.core.snapshotFailed(this.now())
        return
      }
      this.core.snapshotRestored(applied, configuration.configuration, this.now())
      this.compactor.reset(applied.index)
      this.requests?.skippedTo(applied.index, configuration.configuration)
      this.updateToken()
    })
    this.port.schedule(this)
  }

  /**
   * A snapshot that was offered is not fetched. Another one may be replacing the state just now, so its mark stays: a
   * crash before the log is reset to it could not be told from a lost disk.
   */
  offerDeclined(): void {
    if (this.failed !== undefined) return
    this.guarded(() => this.core.snapshotFailed(this.now()))
    this.port.schedule(this)
  }

  /** The snapshot that was being received came to nothing; the old state is there still. */
  restoreFailed(): void {
    if (this.failed !== undefined) return
    if (this.stored.restoring) {
      this.stored = { ...this.stored, restoring: false }
      this.metadataDirty = true
    }
    this.guarded(() => this.core.snapshotFailed(this.now()))
    this.port.schedule(this)
  }

  snapshotSent(replicaId: ReplicaId, outcome: 'sent' | 'failed'): void {
    if (this.failed !== undefined) return
    this.guarded(() => this.core.reportSnapshot(replicaId, outcome, this.now()))
    this.port.schedule(this)
  }
}
