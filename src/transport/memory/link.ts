import { copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { StreamSet } from '../../core/streams/stream-set.ts'
import { Change, copyRecord, type StreamRecord, type StreamWire } from '../../core/streams/stream-wire.ts'
import type { PeerEvent, PeerIdentity, TransportContext } from '../../interfaces/transport.ts'
import type { FoundingId, NodeId } from '../../model/ids.ts'
import type { ChannelRegistry } from '../channels.ts'

/** Limits of a {@link MemoryLink}. */
export interface MemoryLimits {
  readonly maximumMessageBytes: number
  readonly maximumQueuedMessages: number
  readonly maximumQueuedBytes: number
  readonly maximumStreams: number
  readonly streamWindowBytes: number
}

/** The transport that an end belongs to. */
export interface MemoryLinkHost {
  readonly self: PeerIdentity
  readonly context: TransportContext
  readonly founding: FoundingId | undefined
  readonly limits: MemoryLimits
  readonly channels: ChannelRegistry
  readonly links: Map<NodeId, MemoryLink>
  post(step: () => void): void
  silenced(peer: NodeId): boolean
  announce(event: PeerEvent): void
}

/**
 * One end of a connection between two transports of a process. Both ends come to be and go in one act; what each host
 * sees of it (up, messages, down) comes through its inbox and so in order.
 */
export class MemoryLink {
  readonly host: MemoryLinkHost
  readonly peer: PeerIdentity
  readonly streams: StreamSet
  /** The host's listeners have seen it come up and not go down. */
  announced = false
  #other: MemoryLink | undefined
  #down = false
  readonly #roomChange = new Change()
  #queuedMessages = 0
  #queuedBytes = 0

  private constructor(host: MemoryLinkHost, peer: PeerIdentity) {
    this.host = host
    this.peer = peer
    const limits = {
      maximumStreams: host.limits.maximumStreams,
      streamWindowBytes: host.limits.streamWindowBytes,
      maximumChunkBytes: host.limits.maximumMessageBytes,
    }
    const wire: StreamWire = { send: (record) => this.#sendRecord(record), room: () => this.room() }
    this.streams = new StreamSet(wire, limits, host.context.env.logger, (protocol) => {
      const handler = host.channels.get(protocol)?.streamHandler
      return handler === undefined ? undefined : (header, chunks) => handler(this.peer, header, chunks)
    })
    host.links.set(peer.nodeId, this)
  }

  /** Connects two hosts; returns the first one's end. */
  static between(a: MemoryLinkHost, b: MemoryLinkHost): MemoryLink {
    const [mine, theirs] = [new MemoryLink(a, b.self), new MemoryLink(b, a.self)]
    mine.#other = theirs
    theirs.#other = mine
    for (const end of [mine, theirs]) end.host.post(() => end.#announceUp())
    return mine
  }

  get other(): MemoryLink {
    return this.#other as MemoryLink
  }

  /** Sends a message if the queue has room. */
  send(protocol: string, message: Uint8Array): boolean {
    const { maximumQueuedMessages, maximumQueuedBytes } = this.host.limits
    if (this.#down || this.#queuedMessages >= maximumQueuedMessages) return false
    if (this.#queuedBytes + message.length > maximumQueuedBytes) return false
    const bytes = copyBytes(message)
    this.#carry(bytes.length, (end) => end.host.channels.get(protocol)?.deliver(end.peer, bytes))
    return true
  }

  /** Undefined while the queue has room for another chunk. */
  room(): Promise<void> | undefined {
    const full = this.#queuedBytes >= this.host.limits.maximumQueuedBytes / 2
    return full && !this.#down ? this.#roomChange.next : undefined
  }

  /** Breaks the connection: nothing that is under way arrives. */
  break(): void {
    for (const end of [this, this.other]) {
      if (end.#down) continue
      end.#down = true
      if (end.host.links.get(end.peer.nodeId) === end) end.host.links.delete(end.peer.nodeId)
      end.host.post(() => end.#announceDown())
    }
  }

  #sendRecord(record: StreamRecord): void {
    const copy = copyRecord(record)
    this.#carry(copy.type === 'data' ? copy.bytes.length : 0, (end) => end.#receiveRecord(copy))
  }

  #receiveRecord(record: StreamRecord): void {
    try {
      this.streams.receive(record)
    } catch (error) {
      this.host.context.env.logger.error({ error, peer: this.peer.nodeId }, 'a stream broke its rules')
      this.break()
    }
  }

  #carry(size: number, arrive: (end: MemoryLink) => void): void {
    if (this.#down) return
    this.#queuedMessages++
    this.#queuedBytes += size
    this.other.host.post(() => {
      this.#queuedMessages--
      this.#queuedBytes -= size
      this.#roomChange.notify()
      if (this.#down || this.host.silenced(this.peer.nodeId)) return
      arrive(this.other)
    })
  }

  #announceUp(): void {
    if (this.#down) return
    this.announced = true
    this.host.announce({ peer: this.peer, state: 'up' })
  }

  #announceDown(): void {
    const gone = `the connection to ${this.peer.nodeId} is gone`
    this.streams.break(new KeelsonError('UNREACHABLE', gone, { outcome: 'unknown' }))
    this.#roomChange.notify()
    this.host.channels.lost({ peer: this.peer.nodeId, outcome: 'unknown' })
    if (!this.announced) return
    this.announced = false
    this.host.announce({ peer: this.peer, state: 'down' })
  }
}
