import type { Counter, Metrics } from '../../core/metrics.ts'
import type { Channel } from '../../interfaces/transport.ts'
import type { GroupId, NodeId } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import { FramePacker, type HostMessage, messageBytes } from './frame.ts'

/** Gathers the messages of a turn, of all groups, into one frame per peer, or more where one would be too large. */
export class Outbox {
  readonly #channel: Channel
  readonly #packers = new Map<NodeId, FramePacker>()
  readonly #sent: Counter
  readonly #dropped: Counter
  /** The next frame will be about as long. */
  #lastBytes = 0

  constructor(channel: Channel, metrics: Metrics) {
    this.#channel = channel
    this.#sent = metrics.counter('keelson_raft_frames_sent_total', 'Frames of Raft messages that were sent')
    this.#dropped = metrics.counter(
      'keelson_raft_frames_dropped_total',
      'Frames of Raft messages that the transport had no room or no address for',
    )
  }

  add(groupId: GroupId, recoveryGeneration: number, peer: Peer, message: HostMessage): void {
    let packer = this.#packers.get(peer.nodeId)
    if (
      packer !== undefined &&
      (packer.incarnation !== peer.incarnation ||
        packer.length + messageBytes(message) > this.#channel.maximumMessageBytes)
    ) {
      this.#send(peer.nodeId, packer)
      packer = undefined
    }
    if (packer === undefined) {
      packer = new FramePacker(peer.incarnation, this.#lastBytes)
      this.#packers.set(peer.nodeId, packer)
    }
    packer.add(groupId, message, recoveryGeneration)
  }

  flush(): void {
    for (const [nodeId, packer] of this.#packers) this.#send(nodeId, packer)
    this.#packers.clear()
  }

  #send(nodeId: NodeId, packer: FramePacker): void {
    this.#lastBytes = packer.length
    if (this.#channel.send(nodeId, packer.finish())) this.#sent.add()
    else this.#dropped.add()
  }
}
