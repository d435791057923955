import type { NodeId } from '../../model/ids.ts'

/** From this version of the protocol on a view of any length may come as one stream. */
export const viewStreamProtocol = 3

/** Records of one piece at most in bytes, so that neither end works on one for long: a hundred members or so. */
export const viewPieceBytes = 4_096

/**
 * A view on its way to another member, piece by piece: where it is. The pieces are made one at a time, when the receiver has
 * room, from what is known by then. Each is a packet with a `state` of some records; the last one asks for the receiver's own.
 */
export class ViewTransfer {
  /** `host:port` of the receiver. */
  readonly to: string
  /** Who gets it. */
  readonly recipient: NodeId
  /** Buckets of which members are told, a bit for each. */
  readonly mask: number
  /** Asks the receiver for its own members in the same buckets, when it has all of ours. */
  readonly wantReturn: boolean
  /** The number that the receiver asked to be repeated. */
  readonly challenge: number | undefined
  /** @internal The next slot of the member table to look at. */
  nextSlot = 0
  /** @internal */
  done = false

  /** Begins with the first member. */
  constructor(
    to: string,
    recipient: NodeId,
    mask: number,
    wantReturn: boolean,
    challenge: number | undefined,
  ) {
    this.challenge = challenge
    this.to = to
    this.recipient = recipient
    this.mask = mask
    this.wantReturn = wantReturn
  }
}
