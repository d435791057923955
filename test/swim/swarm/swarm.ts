import { SeededRandom } from '../../../src/core/random.ts'
import type { SwimCoreOptions } from '../../../src/swim/core/core-options.ts'
import { SwimInvariants } from '../../../src/swim/core/invariants.ts'
import type { SwimPacket } from '../../../src/swim/core/output.ts'
import { proofProtocol } from '../../../src/swim/core/proofs.ts'
import { SwimCore } from '../../../src/swim/core/swim-core.ts'
import { lanProfile, type SwimTuning } from '../../../src/swim/core/tuning.ts'
import type { SwimEvent } from '../../../src/swim/core/types.ts'
import type { ViewTransfer } from '../../../src/swim/core/view-transfer.ts'
import { EventQueue, type QueuedEvent } from './event-queue.ts'
import { SwarmNetwork } from './network.ts'

/** Changes a core before it begins, such as by replacing one of its decisions with a mistake. */
export type Alteration = (core: SwimCore) => void

export interface SwarmOptions {
  readonly seed: number
  readonly tuning?: Partial<SwimTuning>
  readonly alter?: Alteration | undefined
  /** Judges every output of every core. Default: true. */
  readonly judged?: boolean
  /** Every so many packets one is decoded from its bytes; the others are handed over as they were packed. Default: 32. */
  readonly decodeEvery?: number
  readonly core?: Partial<SwimCoreOptions>
  /** Called at every event. */
  readonly onEvent?: (event: SwimEvent, observer: SwarmProcess, atMs: number) => void
}

export interface StartOptions {
  readonly address?: string
  readonly incarnation?: number | undefined
  /** What its last life left. */
  readonly snapshot?: Uint8Array | undefined
  readonly metadata?: Uint8Array
  /** How fast its clock runs, and what it shows at the start. */
  readonly rate?: number
  readonly offsetMs?: number
  readonly core?: Partial<SwimCoreOptions> | undefined
  /** Name of the process among the simulated ones. Default: the node's; a second process of one node needs another. */
  readonly key?: string
}

/** One simulated process. */
export interface SwarmProcess {
  readonly index: number
  /** Its name among the simulated ones: that of the node, but for a second process of one node. */
  readonly nodeId: string
  readonly core: SwimCore
  readonly address: string
  readonly rate: number
  readonly offsetMs: number
  alive: boolean
  /** While it is stopped, what arrives waits here. */
  inbox: Delivery[] | undefined
  /** Hands it what comes and lets its time pass, instead of the swarm. */
  host: PacketHost | undefined
  wakeAtMs: number
}

/** A packet that has come. */
export interface Delivery {
  readonly from: string
  readonly packet: SwimPacket
}

/** What stands between a core and the swarm where that is more than one loop. It takes the packets of the core away itself. */
export interface PacketHost {
  arrive(delivery: Delivery): void
  /** The deadlines of the core may have changed. */
  plan(): void
}

/** What a stopped process can hold for later: a socket's buffer. */
const inboxLimit = 2_000

const metadata = new Uint8Array([1, 2, 3])

/** Since when members know each other that begin as a cluster. */
const longAgoMs = 3_600_000

/** Packets that whoever listens remembers. */
const recordedPackets = 200

/** Nobody lives there. */
const thirdParty = '203.0.113.7:7946'

/**
 * Thousands of cores in virtual time over a simulated network. The same seed and the same calls give the same run. The
 * invariants are checked after every input of a core.
 */
export class Swarm {
  nowMs = 0
  readonly random: SeededRandom
  readonly network: SwarmNetwork
  readonly invariants: SwimInvariants
  readonly tuning: SwimTuning
  packetsSent = 0
  bytesSent = 0
  packetsDelivered = 0
  /** Pieces of views that went by streams. */
  viewPieces = 0
  events = 0
  readonly #options: SwarmOptions
  readonly #processes = new Map<string, SwarmProcess>()
  readonly #byAddress = new Map<string, SwarmProcess>()
  readonly #queue = new EventQueue()
  readonly #judged: boolean
  readonly #decodeEvery: number
  /** What was said last, while somebody listens. */
  #recorded: SwimPacket[] | undefined
  #order = 0
  #ports = 0
  #lives = 0

  constructor(options: SwarmOptions) {
    this.#options = options
    this.random = new SeededRandom(options.seed)
    this.network = new SwarmNetwork(this.random.child('network'))
    this.tuning = { ...lanProfile, ...options.tuning }
    this.invariants = new SwimInvariants(this.tuning.maximumPacketBytes)
    this.#judged = options.judged ?? true
    this.#decodeEvery = options.decodeEvery ?? 32
  }

  get nodeIds(): string[] {
    return [...this.#processes.keys()]
  }

  processes(): IterableIterator<SwarmProcess> {
    return this.#processes.values()
  }

  process(nodeId: string): SwarmProcess {
    const process = this.#processes.get(nodeId)
    if (process === undefined) throw new Error(`no node ${nodeId}`)
    return process
  }

  /** Nodes that run, stopped ones included. */
  get running(): string[] {
    return [...this.#processes.values()].filter(({ alive }) => alive).map(({ nodeId }) => nodeId)
  }

  core(nodeId: string): SwimCore {
    return this.process(nodeId).core
  }

  runningCores(): SwimCore[] {
    return [...this.#processes.values()].filter(({ alive }) => alive).map(({ core }) => core)
  }

  /** Time as a process sees it. */
  localMs(process: SwarmProcess): number {
    return this.nowMs * process.rate + process.offsetMs
  }

  /** Starts a process, or starts it again in a new life. */
  start(nodeId: string, seeds: readonly string[] = [], options: StartOptions = {}): SwimCore {
    const life = ++this.#lives
    const key = options.key ?? nodeId
    const before = this.#processes.get(key)
    const address = options.address ?? addressOf(this.#ports++)
    const rate = options.rate ?? 1
    const offsetMs = (options.offsetMs ?? 0) - this.nowMs * (rate - 1)
    const core = new SwimCore({
      nodeId,
      incarnation: options.incarnation ?? life,
      address,
      metadata: options.metadata ?? metadata,
      label: 'test',
      tuning: this.tuning,
      random: this.random.child(`${nodeId} ${life}`),
      nowMs: this.nowMs * rate + offsetMs,
      ...this.#options.core,
      ...options.core,
    })
    const process = this.#add(key, core, {
      index: before?.index ?? this.#processes.size,
      address,
      rate,
      offsetMs,
    })
    if (options.snapshot === undefined) core.join(seeds, this.localMs(process))
    else core.restore(options.snapshot, seeds, this.localMs(process))
    this.#settle(process)
    return core
  }

  /** Starts `count` nodes that know each other already, as if they had joined long ago. */
  startFormed(count: number): void {
    const first = this.#ports
    const started = Array.from({ length: count }, (_, i) => {
      const nodeId = `n${i}`
      const core = new SwimCore({
        nodeId,
        incarnation: ++this.#lives,
        address: addressOf(first + i),
        metadata,
        label: 'test',
        tuning: this.tuning,
        random: this.random.child(nodeId),
        nowMs: this.nowMs,
        ...this.#options.core,
      })
      return core
    })
    this.#ports += count
    const entries = started.map(({ membership }) => membership.statement.entry('alive'))
    started.forEach((core, i) => {
      const { table, queue, nodeId } = core.membership
      queue.remove(nodeId)
      // Each in another order, as it would have come to know them.
      for (let j = 1; j < count; j++) {
        const entry = entries[(i + j) % count]
        if (entry !== undefined) table.set(entry, this.nowMs - longAgoMs)
      }
      const process = this.#add(nodeId, core, { index: i, address: core.self.address, rate: 1, offsetMs: 0 })
      core.join([], this.nowMs)
      this.#settle(process)
    })
  }

  /** A swarm that goes on from here with other luck: what is on its way is lost. */
  fork(options: SwarmOptions): Swarm {
    const copy = new Swarm(options)
    copy.nowMs = this.nowMs
    copy.#ports = this.#ports
    copy.#lives = this.#lives
    for (const { alive, nodeId, index, address, rate, offsetMs, core } of this.#processes.values()) {
      if (!alive) continue
      const twin = core.clone(copy.random.child(nodeId))
      const process = copy.#add(nodeId, twin, { index, address, rate, offsetMs })
      copy.#settle(process)
    }
    return copy
  }

  #add(
    nodeId: string,
    core: SwimCore,
    place: Pick<SwarmProcess, 'index' | 'address' | 'rate' | 'offsetMs'>,
  ): SwarmProcess {
    this.#options.alter?.(core)
    const process: SwarmProcess = {
      nodeId,
      core,
      ...place,
      alive: true,
      inbox: undefined,
      host: undefined,
      wakeAtMs: Number.POSITIVE_INFINITY,
    }
    this.#processes.set(nodeId, process)
    this.#byAddress.set(place.address, process)
    this.invariants.setFate(core.self.nodeId, 'up')
    return process
  }

  /** Ends a process whose name lives on in another one. */
  stop(key: string): void {
    const process = this.process(key)
    process.alive = false
    this.#processes.delete(key)
    this.#byAddress.delete(process.address)
  }

  /** Starts `count` nodes within a time; all know the first one as their seed. */
  startMany(count: number, withinMs = 1_000): void {
    const first = this.start('n0')
    for (let i = 1; i < count; i++) {
      this.at(this.random.float() * withinMs, () => this.start(`n${i}`, [first.self.address]))
    }
  }

  crash(nodeId: string): void {
    const process = this.process(nodeId)
    process.alive = false
    if (this.#byAddress.get(process.address) === process) this.#byAddress.delete(process.address)
    this.invariants.setFate(nodeId, 'crashed')
  }

  leave(nodeId: string): void {
    const process = this.process(nodeId)
    this.input(nodeId, (core, nowMs) => core.leave(nowMs))
    this.invariants.setFate(nodeId, 'left')
    const stop = (): void => {
      if (!process.alive) return
      if (!process.core.departed) {
        this.at(100, stop)
        return
      }
      process.alive = false
      if (this.#byAddress.get(process.address) === process) this.#byAddress.delete(process.address)
    }
    this.at(100, stop)
  }

  /** Stops a process as SIGSTOP does: what is sent to it waits. */
  pause(nodeId: string, forMs: number): void {
    const process = this.process(nodeId)
    if (!process.alive || process.inbox !== undefined) return
    process.inbox = []
    this.at(forMs, () => this.resume(process))
  }

  /** Lets a stopped process go on: like the driver, it first takes in what has waited. */
  resume(process: SwarmProcess): void {
    this.takeInbox(process)
    if (!process.alive) return
    process.core.advanceTo(this.localMs(process))
    this.#settle(process)
  }

  /** Hands a process what has waited for it. */
  takeInbox(process: SwarmProcess): void {
    const waiting = process.inbox ?? []
    process.inbox = undefined
    if (process.alive) for (const { from, packet } of waiting) this.#deliver(process, from, packet)
  }

  /** Hands a process the first thing that has waited; false when nothing has, and from then on it takes things as they come. */
  takeOne(process: SwarmProcess): boolean {
    const waiting = process.inbox ?? []
    const first = waiting.shift()
    process.inbox = undefined
    if (first === undefined) return false
    if (process.alive) this.#deliver(process, first.from, first.packet)
    process.inbox = waiting
    return true
  }

  /** Calls a core with its own time and carries out what comes of it. */
  input(nodeId: string, act: (core: SwimCore, nowMs: number) => void): void {
    const process = this.process(nodeId)
    if (!process.alive) return
    act(process.core, this.localMs(process))
    this.#settle(process)
  }

  /** From now on somebody listens who can send on what was said. */
  listen(): void {
    this.#recorded ??= []
  }

  /** Sends a recorded packet on to a member that it was not for, as if it came from a third party. */
  replay(random: SeededRandom): void {
    const recorded = this.#recorded ?? []
    const packet = recorded[random.integer(Math.max(1, recorded.length))]
    const receiver = this.#processes.get(this.running[random.integer(this.running.length)] ?? '')
    if (packet === undefined || receiver === undefined) return
    if (receiver.inbox !== undefined || receiver.address === packet.to || packet.reliable) return
    const { core } = receiver
    core.receive(thirdParty, packet.bytes, this.localMs(receiver))
    const ours = core.self.protocols.maximum
    const theirs = core.member(packet.content.sender.nodeId)?.protocols.maximum ?? proofProtocol
    // Older releases prove nothing.
    if (Math.min(ours, theirs) >= proofProtocol)
      this.invariants.checkReplay(core, thirdParty, packet.bytes.length)
    this.#settle(receiver)
  }

  at(delayMs: number, run: () => void): void {
    this.#queue.push({ atMs: this.nowMs + delayMs, order: this.#order++, run })
  }

  run(forMs: number): void {
    const untilMs = this.nowMs + forMs
    const queue = this.#queue
    for (let event = queue.next; event !== undefined && event.atMs <= untilMs; event = queue.next) {
      queue.pop()
      this.nowMs = event.atMs
      this.events++
      event.run()
    }
    this.nowMs = untilMs
  }

  /** Runs until `condition` holds; the time that it took, or undefined if it did not hold within `limitMs`. */
  runUntil(condition: () => boolean, limitMs: number, stepMs = 50): number | undefined {
    const startedMs = this.nowMs
    while (this.nowMs - startedMs < limitMs) {
      if (condition()) return this.nowMs - startedMs
      this.run(stepMs)
    }
    return condition() ? this.nowMs - startedMs : undefined
  }

  /** True when every running node but itself holds `nodeId` in one of these states. */
  allHold(nodeId: string, ...states: readonly string[]): boolean {
    for (const { alive, core } of this.#processes.values()) {
      if (!alive || core.self.nodeId === nodeId) continue
      if (!states.includes(core.member(nodeId)?.state ?? 'unknown')) return false
    }
    return true
  }

  checkQuiet(): void {
    this.invariants.checkQuiet(this.runningCores())
  }

  /** Carries out what a core wants after something was done to it directly. */
  settle(process: SwarmProcess): void {
    this.#settle(process)
  }

  #settle(process: SwarmProcess): void {
    const { core } = process
    const output = core.takeOutput()
    if (this.#judged) this.invariants.check(core, output)
    for (const packet of output.packets) this.transmit(process, packet)
    for (const view of output.views) this.#stream(process, view)
    const { onEvent } = this.#options
    if (onEvent !== undefined) for (const event of output.events) onEvent(event, process, this.nowMs)
    this.#schedule(process)
  }

  /** Carries a view piece by piece, each in its own time; whatever is in the way breaks it off. */
  #stream(sender: SwarmProcess, view: ViewTransfer): void {
    const { minimumDelayMs, maximumDelayMs } = this.network.faults
    this.at(minimumDelayMs + (maximumDelayMs - minimumDelayMs) / 2, () => {
      if (!sender.alive) return
      const receiver = this.#byAddress.get(view.to)
      const reached =
        receiver?.alive === true &&
        receiver.inbox === undefined &&
        this.network.reaches(sender.index, receiver.index) &&
        this.network.reaches(receiver.index, sender.index)
      const nowMs = this.localMs(sender)
      if (!reached) {
        sender.core.viewFailed(view, nowMs)
        this.#settle(sender)
        return
      }
      const piece = sender.core.nextOfView(view, nowMs)
      if (piece === undefined) return
      if (piece !== 'later') {
        this.viewPieces++
        receiver.core.receive(sender.address, piece, this.localMs(receiver), sender.core.self.nodeId)
        this.#settle(receiver)
      }
      this.#stream(sender, view)
    })
  }

  /** A wake that comes too early finds nothing to do and plans the right one; so only earlier ones are queued. */
  #schedule(process: SwarmProcess): void {
    if (process.host !== undefined) {
      process.host.plan()
      return
    }
    const deadlineMs = process.core.nextDeadlineMs()
    if (deadlineMs === Number.POSITIVE_INFINITY) return
    // Rounding must not wake it just before its own time.
    const dueMs = (deadlineMs - process.offsetMs) / process.rate
    const wakeAtMs = Math.max(process.rate === 1 && process.offsetMs === 0 ? dueMs : dueMs + 1e-6, this.nowMs)
    if (wakeAtMs >= process.wakeAtMs) return
    process.wakeAtMs = wakeAtMs
    this.#queue.push(new Wake(this, wakeAtMs, this.#order++, process))
  }

  /** Lets time pass for a process, if that is still planned for now. */
  wake(process: SwarmProcess, plannedMs: number): void {
    if (process.wakeAtMs !== plannedMs) return
    process.wakeAtMs = Number.POSITIVE_INFINITY
    if (!process.alive || process.inbox !== undefined || process.host !== undefined) return
    process.core.advanceTo(this.localMs(process))
    this.#settle(process)
  }

  /** Puts a packet on its way. */
  transmit(sender: SwarmProcess, packet: SwimPacket): void {
    this.packetsSent++
    this.bytesSent += packet.bytes.length
    if (this.#recorded !== undefined) {
      if (this.#recorded.length >= recordedPackets) this.#recorded.shift()
      this.#recorded.push(packet)
    }
    const receiver = this.#byAddress.get(packet.to)
    if (receiver === undefined) return
    const calmMs = this.network.calmDelayMs()
    if (calmMs !== undefined) {
      this.#queue.push(new Arrival(this, this.nowMs + calmMs, this.#order++, sender, packet))
      return
    }
    for (const delayMs of this.network.delays(sender.index, receiver.index, packet.reliable))
      this.#queue.push(new Arrival(this, this.nowMs + delayMs, this.#order++, sender, packet))
  }

  /** A packet comes to whoever has its address by then. */
  arrive(sender: SwarmProcess, packet: SwimPacket): void {
    const receiver = this.#byAddress.get(packet.to)
    if (receiver === undefined || !receiver.alive) return
    if (!this.network.reaches(sender.index, receiver.index)) return
    this.#deliver(receiver, sender.address, packet)
  }

  #deliver(process: SwarmProcess, from: string, packet: SwimPacket): void {
    if (process.host !== undefined) {
      process.host.arrive({ from, packet })
      return
    }
    if (process.inbox !== undefined) {
      if (process.inbox.length < inboxLimit) process.inbox.push({ from, packet })
      return
    }
    this.packetsDelivered++
    const nowMs = this.localMs(process)
    if (this.packetsDelivered % this.#decodeEvery === 0)
      process.core.receive(
        from,
        packet.bytes,
        nowMs,
        packet.reliable ? packet.content.sender.nodeId : undefined,
      )
    else process.core.receivePacket(from, packet.content, nowMs, packet.reliable, packet.bytes.length)
    this.#settle(process)
  }
}

/** A packet on its way: a small object, and no closure, as there are millions of them. */
class Arrival implements QueuedEvent {
  readonly atMs: number
  readonly order: number
  readonly #swarm: Swarm
  readonly #sender: SwarmProcess
  readonly #packet: SwimPacket

  constructor(swarm: Swarm, atMs: number, order: number, sender: SwarmProcess, packet: SwimPacket) {
    this.#swarm = swarm
    this.atMs = atMs
    this.order = order
    this.#sender = sender
    this.#packet = packet
  }

  run(): void {
    this.#swarm.arrive(this.#sender, this.#packet)
  }
}

/** The time at which a process wants to be woken. */
class Wake implements QueuedEvent {
  readonly atMs: number
  readonly order: number
  readonly #swarm: Swarm
  readonly #process: SwarmProcess

  constructor(swarm: Swarm, atMs: number, order: number, process: SwarmProcess) {
    this.#swarm = swarm
    this.atMs = atMs
    this.order = order
    this.#process = process
  }

  run(): void {
    this.#swarm.wake(this.#process, this.atMs)
  }
}

function addressOf(number: number): string {
  return `10.${number >>> 16}.${(number >>> 8) & 255}.${number & 255}:7946`
}
