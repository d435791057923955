import { KeelsonError } from '../../core/errors.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId } from '../../model/ids.ts'
import type { OfferedSnapshot } from '../core/types.ts'
import type { Replica } from '../group/replica.ts'
import type { SnapshotRequest } from './host-messages.ts'
import type { SnapshotTransferOptions, SnapshotTransferSetup } from './snapshot-options.ts'
import { SnapshotReceiver } from './snapshot-receiver.ts'
import { SnapshotSender } from './snapshot-sender.ts'

/**
 * Moves snapshots between hosts. The receiver asks, when its core says so, and so decides how many it takes at a time;
 * the sender opens a stream for each segment. Whatever goes wrong in the end, the core is told, and the leader offers
 * again in its time.
 */
export class SnapshotTransfers {
  readonly #sender: SnapshotSender
  readonly #receiver: SnapshotReceiver

  constructor(setup: SnapshotTransferSetup) {
    const { metrics } = setup.env
    const bytes = metrics.counter('keelson_raft_snapshot_bytes_total', 'Bytes of snapshots, by direction')
    const ends = metrics.counter('keelson_raft_snapshots_total', 'Snapshots, by direction and outcome')
    const resumed = metrics.counter(
      'keelson_raft_snapshot_segments_total',
      'Segments by which the receipt of a snapshot went on',
    )
    const options: SnapshotTransferOptions = {
      ...setup,
      onBytes: (direction, count) => bytes.add(count, { direction }),
      onEnd: (direction, done) => ends.add(1, { direction, outcome: done ? 'done' : 'failed' }),
      onResume: () => resumed.add(),
    }
    this.#sender = new SnapshotSender(options)
    this.#receiver = new SnapshotReceiver(options)
    setup.channel.onStream(async (peer, header, chunks) => this.#receiver.receive(peer, header, chunks))
  }

  /** A leader offered a snapshot to this replica. */
  offered(replica: Replica, offered: OfferedSnapshot): void {
    this.#receiver.offered(replica, offered)
  }

  /** Another host asks for a snapshot. */
  requested(replica: Replica, peer: PeerIdentity, request: SnapshotRequest): void {
    this.#sender.requested(replica, peer, request)
  }

  /** Whether a snapshot was asked for here, or is being received. */
  isReceiving(groupId: GroupId): boolean {
    return this.#receiver.isReceiving(groupId)
  }

  /** Breaks off what a group is receiving, and what is sent of it. */
  cancel(groupId: GroupId, error: KeelsonError): void {
    this.#sender.cancel(groupId)
    this.#receiver.cancel(groupId, error)
  }

  /** Breaks off everything. */
  close(): void {
    this.#sender.close()
    this.#receiver.close(new KeelsonError('CLOSED', 'the Raft host was closed; open it again'))
  }
}
