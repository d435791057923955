import type { Counter, Metrics } from '../../core/metrics.ts'
import type { Channel } from '../../interfaces/transport.ts'
import type { GroupId, NodeId } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import type { DiskMarks } from './disk-marks.ts'
import { beatBytes, FramePacker, marksBytes } from './frame.ts'
import type { Beat, BeatReply, HostMessage } from './host-messages.ts'
import { messageBytes } from './message-fields.ts'

/** Gathers the messages of a turn, of all groups, into one frame per peer, or more where one would be too large. */
export class Outbox {
  readonly #channel: Channel
  readonly #marks: DiskMarks
  #packers = new Map<NodeId, FramePacker>()
  readonly #sent: Counter
  readonly #dropped: Counter
  readonly #withheld: Counter
  readonly #withholds: (peer: Peer) => boolean
  /** The next frame will be about as long. */
  #lastBytes = 0
  readonly #onDropped: (nodeId: NodeId) => void

  /** `onDropped` is told of each peer to which something was lost; `withholds`: nothing but signs of life is sent to it. */
  constructor(
    channel: Channel,
    metrics: Metrics,
    marks: DiskMarks,
    onDropped: (nodeId: NodeId) => void,
    withholds: (peer: Peer) => boolean,
  ) {
    this.#channel = channel
    this.#marks = marks
    this.#onDropped = onDropped
    this.#withholds = withholds
    this.#sent = metrics.counter('keelson_raft_frames_sent_total', 'Frames of Raft messages that were sent')
    this.#dropped = metrics.counter(
      'keelson_raft_frames_dropped_total',
      'Frames of Raft messages that the transport had no room or no address for',
    )
    this.#withheld = metrics.counter(
      'keelson_raft_messages_withheld_total',
      'Raft messages that were not sent to nodes that give no sign of life',
    )
  }

  add(groupId: GroupId, recoveryGeneration: number, peer: Peer, message: HostMessage): void {
    if (this.#withholds(peer)) {
      this.#withheld.add()
      return
    }
    this.#packer(peer, messageBytes(message)).add(groupId, message, recoveryGeneration)
  }

  addBeat(peer: Peer, beat: Beat | BeatReply): void {
    this.#packer(peer, beatBytes).addBeat(beat)
  }

  flush(): void {
    if (this.#packers.size === 0) return
    const packers = this.#packers
    // Not cleared: the table of a map that has grown old keeps all later ones alive, with the frames that were in them.
    this.#packers = new Map()
    for (const [nodeId, packer] of packers) this.#send(nodeId, packer)
  }

  /** The frame for this peer, with room for so much more. */
  #packer(peer: Peer, bytes: number): FramePacker {
    let packer = this.#packers.get(peer.nodeId)
    if (
      packer !== undefined &&
      (packer.incarnation !== peer.incarnation ||
        packer.length + bytes + marksBytes > this.#channel.maximumMessageBytes)
    ) {
      this.#send(peer.nodeId, packer)
      packer = undefined
    }
    if (packer === undefined) {
      packer = new FramePacker(peer.incarnation, this.#lastBytes)
      this.#packers.set(peer.nodeId, packer)
    }
    return packer
  }

  #send(nodeId: NodeId, packer: FramePacker): void {
    this.#lastBytes = packer.length
    // All that the frame promises is durable by now.
    const marks = this.#marks.to({ nodeId, incarnation: packer.incarnation })
    if (this.#channel.send(nodeId, packer.finish(marks))) {
      this.#sent.add()
      return
    }
    this.#dropped.add()
    this.#onDropped(nodeId)
  }
}
