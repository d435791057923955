// One copy of a replicated log without a quorum of its own, and the part of the primary. Small on purpose: everything is in
// memory, but every rule that a real one needs is in it.
import { KeelsonError, type TimerHandle, type Timers } from 'keelson'
import {
  comparePositions,
  type Installation,
  type LogPosition,
  type MemberStatus,
  type PrimaryStop,
  type QuorumSet,
  ReplicaSetMember,
  type SetMember,
} from 'keelson/placement'

/** A record of the log. The first one of each primary is empty: it shows that the primary has begun. */
export interface LogRecord {
  readonly index: number
  readonly sequence: number
  readonly value: string
}

/** What the log tells an audit. */
export interface LogObserver {
  installed(node: LogNode): void
  accepted(node: LogNode, record: LogRecord, set: QuorumSet, writer: number): void
  acknowledged(nodeId: string, record: LogRecord, set: QuorumSet): void
  promoted(nodeId: string, sequence: number): void
}

/** How the nodes reach each other. */
export type Reach = <T>(from: string, to: string, act: () => T | Promise<T>) => Promise<T>

/** What a copy needs of the world. */
export interface LogWorld {
  readonly name: string
  readonly timers: Timers
  readonly intervalMs: number
  readonly reach: Reach
  /** The newest set in the store: where a primary looks when it is refused. */
  readonly newest: () => Promise<QuorumSet>
  readonly observer: LogObserver | undefined
  node(nodeId: string): LogNode
}

/** One copy of the log on one node. A crash ends its part as primary; what it holds it comes back with. */
export class LogNode {
  readonly nodeId: string
  readonly #host: LogWorld
  gate: ReplicaSetMember
  records: LogRecord[] = []
  #primary: Primary | undefined

  constructor(host: LogWorld, nodeId: string, incarnation: number) {
    this.#host = host
    this.nodeId = nodeId
    this.gate = new ReplicaSetMember(nodeId, incarnation)
  }

  get position(): LogPosition {
    const last = this.records[this.records.length - 1]
    return last === undefined ? { sequence: 0, index: 0 } : { sequence: last.sequence, index: last.index }
  }

  has(record: { readonly index: number; readonly sequence: number }): boolean {
    return this.records[record.index - 1]?.sequence === record.sequence
  }

  status(): MemberStatus {
    const { incarnation, epoch, sequence, state } = this.gate
    const serving = this.#primary?.serving === true && this.#primary.sequence === sequence
    return { incarnation, epoch, sequence, completeFor: state.completeFor, position: this.position, serving }
  }

  /** The process dies: what it holds on disk is what it comes back with. */
  crash(): void {
    this.#primary?.stop()
    this.#primary = undefined
  }

  install({ set, sequence }: Installation): MemberStatus {
    this.gate.install(set)
    this.gate.installSequence(sequence)
    if (this.#primary !== undefined && this.#primary.sequence < sequence) this.crash()
    this.#host.observer?.installed(this)
    return this.status()
  }

  /**
   * Takes records of a primary that follow a record which must be here already, so that whoever has a record has everything
   * before it. What contradicts them goes: it was never acknowledged.
   *
   * @returns how far this log agrees with the primary's, or after which record it has to try when it does not know that
   */
  append(
    set: QuorumSet,
    sequence: number,
    previous: LogPosition,
    records: readonly LogRecord[],
  ): { readonly agrees: boolean; readonly index: number } {
    this.gate.check(set.epoch, sequence)
    if (previous.index > 0 && this.records[previous.index - 1]?.sequence !== previous.sequence)
      return { agrees: false, index: Math.min(previous.index - 1, this.records.length) }
    for (const record of records) {
      if (!this.has(record)) this.records.length = record.index - 1
      this.records[record.index - 1] = record
      this.#host.observer?.accepted(this, record, set, sequence)
    }
    return { agrees: true, index: previous.index + records.length }
  }

  /** Takes over what another copy has; never less than it has itself. */
  takeOver(records: readonly LogRecord[], position: LogPosition): void {
    if (comparePositions(position, this.position) <= 0) return
    // The source may have changed since its position was asked.
    if (records[position.index - 1]?.sequence !== position.sequence) return
    this.records = records.slice(0, position.index)
  }

  promote(sequence: number): void {
    if (this.#primary?.sequence === sequence) return
    this.crash()
    this.#primary = new Primary(this.#host, this, sequence)
  }

  stepDown(stop: PrimaryStop): LogPosition {
    return this.#own(stop.sequence).stepDown(stop.attempt)
  }

  resume(stop: PrimaryStop): void {
    this.#own(stop.sequence).resume(stop.attempt)
  }

  /** Appends a value. Resolves when it is acknowledged. @throws KeelsonError `NOT_LEADER`, `OUTCOME_UNKNOWN` */
  async write(value: string): Promise<LogRecord> {
    if (this.#primary === undefined)
      throw new KeelsonError('NOT_LEADER', `${this.nodeId} is not primary; ask another member`)
    return this.#primary.write(value)
  }

  /** It is no member any more. */
  retire(set: QuorumSet): void {
    if (set.epoch < this.gate.epoch || set.member(this.nodeId) !== undefined) return
    this.crash()
    this.records = []
    const { incarnation, state } = this.gate
    this.gate = new ReplicaSetMember(this.nodeId, incarnation, { ...state, set, completeFor: 0 })
  }

  #own(sequence: number): Primary {
    if (this.#primary?.sequence === sequence && this.gate.sequence === sequence) return this.#primary
    throw new KeelsonError('STALE_SEQUENCE', `${this.nodeId} is not primary under sequence ${sequence}`)
  }
}

interface Pending {
  readonly record: LogRecord
  readonly resolve: (record: LogRecord) => void
  readonly reject: (error: Error) => void
}

/** A node in the part of the primary: sends its log to all members, and acknowledges what a write quorum has. */
class Primary {
  readonly sequence: number
  readonly #host: LogWorld
  readonly #node: LogNode
  /** How far each member agrees, for this membership of it. */
  readonly #matched = new Map<string, number>()
  /** After which record the next one is sent. */
  readonly #next = new Map<string, number>()
  readonly #sending = new Set<string>()
  readonly #begun: number
  #pending: Pending[] = []
  #timer: TimerHandle | undefined
  #stepped = false
  /** The newest attempt to stop it, and the newest that was given up. */
  #attempt = 0
  #resumed = 0
  #stopped = false
  #told = false
  serving = false

  constructor(host: LogWorld, node: LogNode, sequence: number) {
    this.#host = host
    this.#node = node
    this.sequence = sequence
    this.#begun = this.#append('').index
    this.#tick()
  }

  async write(value: string): Promise<LogRecord> {
    if (!this.serving || this.#stepped || this.#stopped)
      throw new KeelsonError('NOT_LEADER', `${this.#node.nodeId} takes no writes now`)
    // Checked where it takes effect: on the primary itself, too.
    this.#node.gate.check(this.#node.gate.epoch, this.sequence)
    const record = this.#append(value)
    const done = new Promise<LogRecord>((resolve, reject) => this.#pending.push({ record, resolve, reject }))
    this.#sendAll()
    return done
  }

  stepDown(attempt: number): LogPosition {
    // A late message: that attempt is over.
    if (attempt < this.#attempt || attempt <= this.#resumed)
      throw new KeelsonError('STALE_SEQUENCE', `the attempt ${attempt} to stop ${this.#node.nodeId} is over`)
    this.#attempt = attempt
    this.#stepped = true
    this.serving = false
    return this.#node.position
  }

  resume(attempt: number): void {
    this.#resumed = Math.max(this.#resumed, attempt)
    if (this.#resumed < this.#attempt) return
    this.#stepped = false
    this.#commit()
  }

  stop(): void {
    this.#stopped = true
    this.serving = false
    this.#timer?.cancel()
    const unknown = new KeelsonError('OUTCOME_UNKNOWN', `${this.#node.nodeId} is primary no more`)
    for (const { reject } of this.#pending) reject(unknown)
    this.#pending = []
  }

  #append(value: string): LogRecord {
    const { records } = this.#node
    const record = { index: records.length + 1, sequence: this.sequence, value }
    const { set } = this.#node.gate.state
    records.push(record)
    if (set?.member(this.#node.nodeId) !== undefined)
      this.#host.observer?.accepted(this.#node, record, set, this.sequence)
    return record
  }

  #tick(): void {
    if (this.#stopped) return
    this.#sendAll()
    this.#timer = this.#host.timers.schedule(this.#host.intervalMs, () => this.#tick())
  }

  #sendAll(): void {
    for (const member of this.#node.gate.state.set?.members ?? []) void this.#send(member)
  }

  async #send(member: SetMember): Promise<void> {
    const { gate, records, nodeId } = this.#node
    const key = `${member.nodeId}/${member.joined}`
    const { set } = gate.state
    if (set === undefined || this.#sending.has(key) || this.#stopped) return
    if (member.nodeId === nodeId) {
      this.#matched.set(key, records.length)
      return this.#commit()
    }
    this.#sending.add(key)
    try {
      const from = this.#next.get(key) ?? records.length
      const before = records[from - 1]
      const previous = before === undefined ? { sequence: 0, index: 0 } : before
      const sent = records.slice(previous.index)
      const { name } = this.#host
      const { agrees, index } = await this.#host.reach(nodeId, member.nodeId, () => {
        const other = this.#host.node(member.nodeId)
        if (other.gate.epoch < set.epoch || other.gate.sequence < this.sequence)
          other.install({ name, set, sequence: this.sequence })
        return other.append(set, this.sequence, previous, sent)
      })
      this.#next.set(key, index)
      if (agrees) this.#matched.set(key, index)
      this.#commit()
    } catch (error) {
      if (KeelsonError.hasCode(error, 'STALE_SEQUENCE')) this.#node.crash()
      // There is a newer epoch: what was sent may still be acknowledged, but by its rules.
      if (KeelsonError.hasCode(error, 'STALE_EPOCH')) await this.#refresh()
    } finally {
      this.#sending.delete(key)
    }
  }

  async #refresh(): Promise<void> {
    const newest = await this.#host.newest()
    if (newest.epoch > this.#node.gate.epoch && !this.#stopped) this.#node.gate.install(newest)
  }

  /** Acknowledges what a write quorum has: of its own records, and with them all that come before. */
  #commit(): void {
    const { gate, records } = this.#node
    const { set } = gate.state
    if (set === undefined || this.#stopped) return
    const reached = (index: number): boolean =>
      set.isWritten((nodeId) => {
        const joined = set.member(nodeId)?.joined
        return (this.#matched.get(`${nodeId}/${joined}`) ?? 0) >= index
      })
    if (!this.serving && !this.#stepped && reached(this.#begun)) {
      this.serving = true
      if (!this.#told) this.#host.observer?.promoted(this.#node.nodeId, this.sequence)
      this.#told = true
    }
    const done = this.#pending.filter(({ record }) => reached(record.index) && records.length >= record.index)
    this.#pending = this.#pending.filter((each) => !done.includes(each))
    for (const { record, resolve } of done) {
      this.#host.observer?.acknowledged(this.#node.nodeId, record, set)
      resolve(record)
    }
  }
}
