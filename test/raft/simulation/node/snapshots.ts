import { invariant } from '../../../../src/core/invariant.ts'
import type { RaftCore } from '../../../../src/raft/core/raft.ts'
import type { OfferedSnapshot } from '../../../../src/raft/core/types.ts'
import type { FramePacker } from '../../../../src/raft/host/frame.ts'
import type { SnapshotRequest } from '../../../../src/raft/host/host-messages.ts'
import { Machine } from '../machine.ts'
import { IncomingSnapshot, OutgoingSnapshot } from '../snapshots.ts'
import { NodeApplying } from './applying.ts'
import type { Peer } from './links.ts'

/** Snapshots from and to other nodes. */
export abstract class NodeSnapshots extends NodeApplying {
  protected incoming: IncomingSnapshot | undefined
  protected readonly outgoing = new Map<string, OutgoingSnapshot>()

  protected override forget(): void {
    super.forget()
    this.incoming = undefined
    this.outgoing.clear()
  }

  protected override get restoringSnapshot(): boolean {
    return this.incoming?.restoring === true
  }

  protected override get pinnedIndexes(): number[] {
    return [...this.outgoing.values()].map(({ index }) => index)
  }

  protected askSnapshot(core: RaftCore, offer: OfferedSnapshot): void {
    const peer = this.peerOf(offer.from)
    const requestId = ++this.lastContext
    const fail = (): void => {
      this.incoming = undefined
      if (this.core !== core) return
      this.world.count('snapshot transfer failed')
      core.snapshotFailed(this.nowMs)
      this.changed()
      this.planApply()
    }
    if (peer === undefined) return fail()
    this.incoming?.abandon()
    this.incoming = new IncomingSnapshot(this.env.timers, peer.nodeId, requestId, {
      complete: (bytes) => this.#restore(core, peer, requestId, bytes, fail),
      failed: fail,
    })
    const request: SnapshotRequest = {
      kind: 'snapshotRequest',
      from: core.replicaId,
      to: offer.from,
      term: core.term,
      position: offer.position,
      requestId,
      snapshotId: 0,
      nextPiece: 0,
    }
    const packers = new Map<string, FramePacker>()
    this.pack(packers, peer, request)
    this.flushPackers(packers)
  }

  protected streamSnapshot(peer: Peer, request: SnapshotRequest): void {
    const { core } = this
    if (core === undefined || core.role !== 'leader') return
    if (this.machine.applied.index < request.position.index) return
    const key = `${peer.nodeId}/${request.requestId}`
    if (this.outgoing.has(key)) return
    this.world.count('snapshot streamed')
    const ended = (restored: boolean): void => {
      this.outgoing.delete(key)
      if (this.core !== core) return
      core.reportSnapshot(request.from, restored ? 'sent' : 'failed', this.nowMs)
      this.changed()
    }
    const { chunkBytes } = this.world.settings
    const bytes = this.snapshotBytes()
    this.outgoing.set(
      key,
      new OutgoingSnapshot(
        this.env.timers,
        request.requestId,
        this.machine.applied.index,
        bytes,
        chunkBytes,
        {
          send: (packet) => this.sendPacket(peer.nodeId, packet),
          ended,
        },
      ),
    )
  }

  snapshotBytes(): Uint8Array {
    return this.machine.encode()
  }

  /** Marks the switch durably, switches the state, then lets the core reset its log. */
  #restore(core: RaftCore, peer: Peer, requestId: number, bytes: Uint8Array, fail: () => void): void {
    const incoming = this.incoming
    const incomingMachine = Machine.decode(bytes)
    const done = (restored: boolean): void => {
      if (this.incoming === incoming) this.incoming = undefined
      this.sendPacket(peer.nodeId, { type: 'snapshotDone', requestId, restored })
    }
    if (incomingMachine.applied.index <= this.machine.applied.index) {
      done(false)
      return fail()
    }
    this.changeRecord({ restoring: true })
    this.writeRecord(() => {
      if (this.core !== core) return
      this.disk.perform('sync', (error) => {
        if (this.core !== core) return
        if (error !== undefined || incomingMachine.applied.index <= this.machine.applied.index) {
          done(false)
          return fail()
        }
        this.switchState(core, incomingMachine, bytes)
        this.input('restored snapshot at', this.machine.applied.index)
        this.world.count('snapshot restored')
        done(true)
        if (!this.boundary('between the switch of the state and the reset of the log')) return
        // In one act with the reset of the log, or the mark would be gone while the log is still the old one.
        this.changeRecord({ restoring: false })
        this.snapshotRestored(core)
        this.changed()
        this.planApply()
      })
    })
  }

  switchState(core: RaftCore, machine: Machine, bytes: Uint8Array): void {
    this.machine = machine
    this.machineDisk.replace(bytes, machine.applied.index)
    this.world.events?.restored(this, core, machine.applied)
    this.judge((invariants) => invariants.snapshotInstalled(core.replicaId, machine.applied))
    this.world.restored(this, machine)
  }

  snapshotRestored(core: RaftCore): void {
    const { applied, configuration } = this.machine
    invariant(configuration !== undefined, 'an applied state has a configuration')
    core.snapshotRestored(applied, configuration, this.nowMs)
  }
}
