import type { NodeId } from '../../model/ids.ts'
import type { DecodedPacket } from './messages.ts'
import type { SwimDelivery, SwimEvent } from './types.ts'
import type { ViewTransfer } from './view-transfer.ts'

/** A packet that is to be sent. */
export interface SwimPacket {
  /** `host:port` */
  readonly to: string
  /** Whom it is for, if that is known. */
  readonly recipient: NodeId | undefined
  /** True when it should go by a stream, where there is one, and not as a datagram. */
  readonly reliable: boolean
  /** The packet, label and all. */
  readonly bytes: Uint8Array
  /** What was packed, for whoever delivers it within this process. */
  readonly content: DecodedPacket
}

/** What a core wants done, in this order: packets first, then events and deliveries. */
export interface SwimOutput {
  /** To be sent, in any order. */
  readonly packets: readonly SwimPacket[]
  /** Views that are to go by a stream each, piece by piece. Only where the core was told that there are streams. */
  readonly views: readonly ViewTransfer[]
  /** To be emitted, in this order. */
  readonly events: readonly SwimEvent[]
  /** To be handed to the host, in this order. */
  readonly deliveries: readonly SwimDelivery[]
}
