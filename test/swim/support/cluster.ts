import { between, chance, SeededRandom } from '../../../src/core/random.ts'
import { SwimInvariants } from '../../../src/swim/core/invariants.ts'
import { SwimCore } from '../../../src/swim/core/swim-core.ts'
import { lanProfile, type SwimTuning } from '../../../src/swim/core/tuning.ts'
import type { SwimEvent } from '../../../src/swim/core/types.ts'

/** Breaks a core on purpose by replacing one of its decisions. */
export type Mutant = (core: SwimCore) => void

export interface NetworkFaults {
  loss: number
  duplication: number
  minimumDelayMs: number
  maximumDelayMs: number
}

export interface ClusterOptions {
  readonly seed: number
  readonly tuning?: Partial<SwimTuning>
  readonly mutant?: Mutant
}

/** One process of the simulated cluster. */
interface Process {
  readonly core: SwimCore
  readonly address: string
  alive: boolean
  /** While it is stopped, what arrives waits here. */
  inbox: { from: string; bytes: Uint8Array }[] | undefined
  wakeAtMs: number
}

export interface ObservedEvent extends SwimEvent {
  readonly observer: string
  readonly atMs: number
}

interface Task {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

/** A cluster of cores in virtual time. The same seed and the same calls give the same run. */
export class SimulatedCluster {
  nowMs = 0
  readonly random: SeededRandom
  readonly invariants: SwimInvariants
  readonly tuning: SwimTuning
  readonly events: ObservedEvent[] = []
  readonly faults: NetworkFaults = { loss: 0, duplication: 0, minimumDelayMs: 0.2, maximumDelayMs: 2 }
  packetsDelivered = 0
  bytesDelivered = 0
  readonly #processes = new Map<string, Process>()
  readonly #byAddress = new Map<string, Process>()
  readonly #mutant: Mutant | undefined
  readonly #network: SeededRandom
  /** Share of what a node receives that is lost on top. */
  readonly deafness = new Map<string, number>()
  readonly #blocked = new Set<string>()
  /** Side of the partition by node; nodes without an entry stand on side 0. */
  readonly #sides = new Map<string, number>()
  readonly #tasks: Task[] = []
  #order = 0
  #ports = 1_000
  #lives = 0

  constructor({ seed, tuning, mutant }: ClusterOptions) {
    this.random = new SeededRandom(seed)
    this.#network = this.random.child('network')
    this.tuning = { ...lanProfile, ...tuning }
    this.invariants = new SwimInvariants(this.tuning.maximumPacketBytes)
    this.#mutant = mutant
  }

  get nodeIds(): string[] {
    return [...this.#processes.keys()]
  }

  /** Nodes that run, stopped ones included. */
  get running(): string[] {
    return this.nodeIds.filter((nodeId) => this.#process(nodeId).alive)
  }

  core(nodeId: string): SwimCore {
    return this.#process(nodeId).core
  }

  address(nodeId: string): string {
    return this.#process(nodeId).address
  }

  /** Starts a process, or starts it again in a new life. */
  start(
    nodeId: string,
    seeds: readonly string[] = [],
    options: { address?: string; incarnation?: number } = {},
  ): SwimCore {
    const address = options.address ?? `10.0.0.1:${this.#ports++}`
    const core = new SwimCore({
      nodeId,
      incarnation: options.incarnation ?? ++this.#lives,
      address,
      metadata: new Uint8Array([1, 2, 3]),
      label: 'test',
      tuning: this.tuning,
      random: this.random.child(`${nodeId} ${this.#lives}`),
      nowMs: this.nowMs,
    })
    this.#mutant?.(core)
    const process: Process = {
      core,
      address,
      alive: true,
      inbox: undefined,
      wakeAtMs: Number.POSITIVE_INFINITY,
    }
    this.#processes.set(nodeId, process)
    this.#byAddress.set(address, process)
    this.invariants.setFate(nodeId, 'up')
    core.join(seeds, this.nowMs)
    this.#settle(process)
    return core
  }

  /** Starts `count` nodes that all know the first one, and lets them find each other. */
  startMany(count: number, settleMs: number): void {
    const first = this.start('n0')
    for (let i = 1; i < count; i++) {
      this.at(between(this.random, 0, 1_000), () => this.start(`n${i}`, [first.self.address]))
    }
    this.run(settleMs)
  }

  crash(nodeId: string): void {
    const process = this.#process(nodeId)
    process.alive = false
    this.#byAddress.delete(process.address)
    this.invariants.setFate(nodeId, 'crashed')
  }

  leave(nodeId: string): void {
    const process = this.#process(nodeId)
    this.input(nodeId, (core) => core.leave(this.nowMs))
    this.invariants.setFate(nodeId, 'left')
    const stop = (): void => {
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
    const process = this.#process(nodeId)
    if (!process.alive || process.inbox !== undefined) return
    process.inbox = []
    this.at(forMs, () => {
      const waiting = process.inbox ?? []
      process.inbox = undefined
      if (!process.alive) return
      for (const { from, bytes } of waiting) this.#deliver(process, from, bytes)
      process.core.advanceTo(this.nowMs)
      this.#settle(process)
    })
  }

  /** Splits the network: only nodes of one side reach each other. */
  partition(...sides: readonly (readonly string[])[]): void {
    this.#sides.clear()
    sides.forEach((nodeIds, side) => {
      for (const nodeId of nodeIds) this.#sides.set(nodeId, side)
    })
  }

  /** Cuts the direct way between two nodes, in both directions. */
  cut(a: string, b: string): void {
    this.#blocked.add(`${a} ${b}`).add(`${b} ${a}`)
  }

  heal(): void {
    this.#sides.clear()
    this.#blocked.clear()
    this.deafness.clear()
    this.faults.loss = 0
    this.faults.duplication = 0
    this.faults.maximumDelayMs = 2
  }

  /** Calls a core and carries out what comes of it. */
  input(nodeId: string, act: (core: SwimCore) => void): void {
    const process = this.#process(nodeId)
    if (!process.alive) return
    act(process.core)
    this.#settle(process)
  }

  /** Hands a packet to whoever has the address now. */
  inject(from: string, to: string, bytes: Uint8Array): void {
    const process = this.#byAddress.get(to)
    if (process !== undefined) this.#deliver(process, from, bytes)
  }

  at(delayMs: number, run: () => void): void {
    this.#push({ atMs: this.nowMs + delayMs, order: this.#order++, run })
  }

  run(forMs: number): void {
    const untilMs = this.nowMs + forMs
    for (let task = this.#tasks[0]; task !== undefined && task.atMs <= untilMs; task = this.#tasks[0]) {
      this.#pop()
      this.nowMs = task.atMs
      task.run()
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

  /** The cores that run. */
  runningCores(): SwimCore[] {
    return this.running.map((nodeId) => this.core(nodeId))
  }

  /** True when every running node holds `nodeId` in one of these states. */
  allHold(nodeId: string, ...states: readonly string[]): boolean {
    return this.runningCores().every(
      (core) => core.self.nodeId === nodeId || states.includes(core.member(nodeId)?.state ?? 'unknown'),
    )
  }

  checkQuiet(): void {
    this.invariants.checkQuiet(this.runningCores())
  }

  /** A digest of everything that happened, for comparing two runs. */
  get trace(): string {
    const events = this.events.map(
      ({ atMs, observer, type, member }) => `${atMs} ${observer} ${type} ${member.nodeId}`,
    )
    return `${this.packetsDelivered} ${this.bytesDelivered}\n${events.join('\n')}`
  }

  #process(nodeId: string): Process {
    const process = this.#processes.get(nodeId)
    if (process === undefined) throw new Error(`no node ${nodeId}`)
    return process
  }

  #settle(process: Process): void {
    const { core } = process
    const output = core.takeOutput()
    this.invariants.check(core, output)
    for (const { to, bytes } of output.packets) this.#transmit(process, to, bytes)
    for (const event of output.events) {
      this.events.push({ ...event, observer: core.self.nodeId, atMs: this.nowMs })
    }
    const wakeAtMs = core.nextDeadlineMs()
    if (wakeAtMs === process.wakeAtMs || wakeAtMs === Number.POSITIVE_INFINITY) {
      process.wakeAtMs = wakeAtMs
      return
    }
    process.wakeAtMs = wakeAtMs
    this.#push({
      atMs: Math.max(wakeAtMs, this.nowMs),
      order: this.#order++,
      run: () => {
        if (!process.alive || process.inbox !== undefined || process.wakeAtMs !== wakeAtMs) return
        process.wakeAtMs = Number.NEGATIVE_INFINITY
        core.advanceTo(this.nowMs)
        this.#settle(process)
      },
    })
  }

  #transmit(sender: Process, to: string, bytes: Uint8Array): void {
    const { loss, duplication, minimumDelayMs, maximumDelayMs } = this.faults
    const copies = 1 + (duplication > 0 && chance(this.#network, duplication) ? 1 : 0)
    for (let i = 0; i < copies; i++) {
      if (loss > 0 && chance(this.#network, loss)) continue
      this.at(between(this.#network, minimumDelayMs, maximumDelayMs), () => {
        const receiver = this.#byAddress.get(to)
        if (receiver === undefined || !receiver.alive) return
        if (this.#side(sender) !== this.#side(receiver)) return
        const [from, into] = [sender.core.self.nodeId, receiver.core.self.nodeId]
        if (this.#blocked.has(`${from} ${into}`)) return
        const deafness = this.deafness.get(into) ?? 0
        if (deafness > 0 && chance(this.#network, deafness)) return
        this.#deliver(receiver, sender.address, bytes)
      })
    }
  }

  #deliver(process: Process, from: string, bytes: Uint8Array): void {
    if (process.inbox !== undefined) {
      if (process.inbox.length < 1_000) process.inbox.push({ from, bytes })
      return
    }
    this.packetsDelivered++
    this.bytesDelivered += bytes.length
    process.core.receive(from, bytes, this.nowMs)
    this.#settle(process)
  }

  #side(process: Process): number {
    return this.#sides.get(process.core.self.nodeId) ?? 0
  }

  #push(task: Task): void {
    const heap = this.#tasks
    let at = heap.push(task) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(task, heap[parent] as Task)) break
      heap[at] = heap[parent] as Task
      at = parent
    }
    heap[at] = task
  }

  #pop(): void {
    const heap = this.#tasks
    const last = heap.pop() as Task
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1] as Task, heap[child] as Task)) child++
      if (!before(heap[child] as Task, last)) break
      heap[at] = heap[child] as Task
      at = child
    }
    heap[at] = last
  }
}

function before(a: Task, b: Task): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
