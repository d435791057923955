import type { Random } from '../../../src/core/random.ts'
import type { SwimPacket } from '../../../src/swim/core/output.ts'
import type { Delivery, PacketHost, Swarm, SwarmProcess } from '../swarm/swarm.ts'

/** How a process of many threads is held up. */
export interface ThreadTimes {
  /** Whether a thread stands before every send too, or after every receive only. */
  readonly sends: boolean
  /** From the end of a standstill until a thread that stood goes on, in the mean: anything from 0 to twice as long. */
  readonly wakeMs: number
  /** What a thread needs for each packet that it takes in or sends. */
  readonly packetMs: number
}

/** A stream that has taken longer is given up (memberlist's `TCPTimeout`). */
const streamTimeoutMs = 10_000

/** What a socket's buffer holds. */
const inboxLimit = 2_000

/** What goes by streams in memberlist: it exchanges whole views, and needs no digests and no proofs. */
const exchanged: ReadonlySet<string> = new Set(['offer', 'state', 'recall', 'challenge', 'proof'])

/** A thread that sends; it does nothing else before all that it has to send is sent. */
class Sender {
  readonly waiting: SwimPacket[] = []
  busy = false
  /** When what it sends is no use any more. */
  readonly untilMs: number

  constructor(untilMs = Number.POSITIVE_INFINITY) {
    this.untilMs = untilMs
  }
}

/**
 * A process that is built as memberlist is, of threads that share one view. While it is held up each thread goes on until its own next
 * send, or stands with the packet that it has just received; afterwards each goes on by itself, with one step at least, and
 * stands again before the next one if the process is held up again by then.
 *
 * - The prober sends a ping, or requests to others, and goes on when those are sent. Its time runs from before the ping.
 * - Gossip, and the exchange of views that this process begins, are a thread each.
 * - The listener takes packets in one by one, and sends the answers to each before the next. What they say about members
 *   is applied by a thread that sends nothing, so that nothing waits there.
 * - A view that comes has a thread of its own, as it has a stream, and so has each negative answer for somebody else.
 * - Suspicions end by timers, which send nothing.
 */
export class Threads implements PacketHost {
  readonly #swarm: Swarm
  readonly #process: SwarmProcess
  readonly #times: ThreadTimes
  readonly #prober = new Sender()
  readonly #gossip = new Sender()
  readonly #exchange = new Sender()
  readonly #listener = new Sender()
  readonly #inbox: Delivery[] = []
  readonly #random: Random
  #listening = false
  #standsUntilMs = Number.NEGATIVE_INFINITY
  #tickAtMs = Number.POSITIVE_INFINITY

  /** Takes a process over for good. */
  constructor(swarm: Swarm, process: SwarmProcess, times: ThreadTimes) {
    this.#swarm = swarm
    this.#process = process
    this.#times = times
    this.#random = swarm.random.child(`threads of ${process.nodeId}`)
    const { core } = process
    const { prober, antiEntropy } = core
    const gossip = core.gossip.bind(core)
    const exchange = antiEntropy.advanceTo.bind(antiEntropy)
    prober.advanceTo = (nowMs) => {
      prober.relays.advanceTo(nowMs)
      for (const nack of this.#made()) this.#give(new Sender(), [nack])
      this.#run(this.#prober, () => prober.endWait(nowMs))
      this.#run(this.#prober, () => prober.endPeriod(nowMs))
    }
    core.gossip = (nowMs) => this.#run(this.#gossip, () => gossip(nowMs))
    antiEntropy.advanceTo = (nowMs) => this.#run(this.#exchange, () => exchange(nowMs))
    process.host = this
    this.#advance()
  }

  /** Holds the process up from now on. */
  holdUp(forMs: number): void {
    this.#standsUntilMs = this.#swarm.nowMs + forMs
  }

  /** A packet comes. */
  arrive(delivery: Delivery): void {
    if (delivery.packet.content.messages.some(({ kind }) => exchanged.has(kind))) {
      const sender = new Sender(this.#swarm.nowMs + streamTimeoutMs)
      this.#stand(() => this.#takeIn(delivery, sender))
      return
    }
    if (this.#inbox.length < inboxLimit) this.#inbox.push(delivery)
    if (!this.#listening) this.#listen()
  }

  /** Time may pass differently from now on. */
  plan(): void {
    const { core, alive } = this.#process
    if (!alive) return
    const { membership, prober, antiEntropy } = core
    const dueMs = Math.min(
      membership.suspicions.deadlineMs,
      membership.table.nextExpiryMs,
      prober.relays.deadlineMs,
      this.#prober.busy ? Number.POSITIVE_INFINITY : prober.ownDeadlineMs,
      this.#gossip.busy ? Number.POSITIVE_INFINITY : (core.gossipAtMs ?? Number.POSITIVE_INFINITY),
      this.#exchange.busy ? Number.POSITIVE_INFINITY : antiEntropy.deadlineMs,
    )
    const tickAtMs = this.#swarm.nowMs + Math.max(0, dueMs - this.#swarm.localMs(this.#process))
    if (tickAtMs >= this.#tickAtMs) return
    this.#tickAtMs = tickAtMs
    this.#swarm.at(tickAtMs - this.#swarm.nowMs, () => {
      if (this.#tickAtMs !== tickAtMs) return
      this.#tickAtMs = Number.POSITIVE_INFINITY
      this.#advance()
    })
  }

  #advance(): void {
    if (!this.#process.alive) return
    this.#process.core.advanceTo(this.#swarm.localMs(this.#process))
    this.#settle(new Sender())
  }

  /** What a sender does, unless it still has something to send. */
  #run(sender: Sender, act: () => void): void {
    if (sender.busy) return
    act()
    this.#give(sender, this.#made())
  }

  #made(): SwimPacket[] {
    return this.#process.core.packer.packets.splice(0)
  }

  #settle(sender: Sender): void {
    this.#give(sender, this.#made())
    this.#swarm.settle(this.#process)
  }

  /** The listener’s next packet. */
  #listen(): void {
    const delivery = this.#inbox.shift()
    this.#listening = delivery !== undefined
    if (delivery === undefined) return
    this.#stand(() => {
      this.#takeIn(delivery, this.#listener)
      if (!this.#listener.busy) this.#swarm.at(this.#times.packetMs, () => this.#listen())
    })
  }

  #takeIn({ from, packet }: Delivery, sender: Sender): void {
    const { core, alive } = this.#process
    if (!alive || this.#swarm.nowMs > sender.untilMs) return
    core.receivePacket(
      from,
      packet.content,
      this.#swarm.localMs(this.#process),
      packet.reliable,
      packet.bytes.length,
    )
    this.#settle(sender)
  }

  #give(sender: Sender, packets: readonly SwimPacket[]): void {
    sender.waiting.push(...packets)
    if (sender.busy || sender.waiting.length === 0) return
    sender.busy = true
    this.#next(sender)
  }

  #next(sender: Sender): void {
    const send = (): void => {
      const packet = sender.waiting.shift()
      if (packet !== undefined && this.#process.alive && this.#swarm.nowMs <= sender.untilMs)
        this.#swarm.transmit(this.#process, packet)
      this.#swarm.at(this.#times.packetMs, () => this.#sent(sender))
    }
    if (this.#times.sends) this.#stand(send)
    else send()
  }

  #sent(sender: Sender): void {
    if (sender.waiting.length > 0) {
      this.#next(sender)
      return
    }
    sender.busy = false
    if (sender === this.#listener) this.#listen()
    this.plan()
  }

  /** Goes on at once, or when the standstill is over: then whatever has begun since. */
  #stand(goOn: () => void): void {
    const leftMs = this.#standsUntilMs - this.#swarm.nowMs
    if (leftMs > 0) this.#swarm.at(leftMs + this.#random.float() * 2 * this.#times.wakeMs, goOn)
    else goOn()
  }
}
