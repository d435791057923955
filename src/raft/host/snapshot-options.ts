import type { Environment } from '../../core/environment.ts'
import type { Channel } from '../../interfaces/transport.ts'
import type { Incarnation } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import type { Replica } from '../group/replica.ts'
import type { SnapshotRequest } from './host-messages.ts'

type Direction = 'sent' | 'received'

export interface SnapshotTransferSetup {
  readonly env: Environment
  readonly channel: Channel
  readonly incarnation: Incarnation
  /** Snapshots that are sent, and snapshots that are received, at a time. */
  readonly maximumTransfers: number
  /** A transfer that stands still for so long is given up. */
  readonly timeoutMs: number
  /** How fast this host sends snapshots, all together, and how fast it receives them. */
  readonly bytesPerSecond: number
  /** Bytes of a segment, and with it those that the sender keeps for a receiver whose connection breaks. */
  readonly windowBytes: number
  readonly sendRequest: (replica: Replica, peer: Peer, request: SnapshotRequest) => void
}

export interface SnapshotTransferOptions extends SnapshotTransferSetup {
  readonly onBytes: (direction: Direction, bytes: number) => void
  readonly onEnd: (direction: Direction, done: boolean) => void
  readonly onResume: () => void
}
