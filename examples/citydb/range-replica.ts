import {
  type CallOptions,
  compareBytes,
  type Environment,
  KeelsonError,
  type RangeBounds,
  type SchemaChunk,
  type SplitKeys,
} from 'keelson'
import { LoadSampler } from 'keelson/placement'
import type { LeaseToken, RaftGroup } from 'keelson/raft'
import { SchemaFence } from 'keelson/schema'
import {
  type BoundsCommand,
  type CommandResult,
  decodeResult,
  encodeCommand,
  type RangeCommand,
} from './commands.ts'
import { Latches } from './latches.ts'
import type {
  CommandNumber,
  ExportResponse,
  ForwardRequest,
  IncrementRequest,
  PageRequest,
  PageResponse,
  RangeFacts,
  WriteRequest,
} from './protocol.ts'
import type { RangeMachine } from './range-machine.ts'
import { encodeRow, type IndexPlan, indexPlans, type Row, tableOf } from './schema.ts'
import { SchemaWork } from './schema-work.ts'

/** A version of the table that a piece of work is planned under. */
export interface TablePin extends Disposable {
  readonly table: SchemaChunk['table']
}

/** What a replica needs of its node. */
export interface ReplicaPorts {
  readonly env: Environment
  readonly pin: (tableId: number) => TablePin
  /** Hands a proposal on to the node that leads the range now. */
  readonly forward: (request: ForwardRequest, leader: string | undefined) => Promise<void>
  /** Called for every effect of this node that was refused because a newer lease holder had taken over. */
  readonly refused: (rangeId: number, sequence: number, what: string) => void
}

const forwardAttempts = 25
/** Load is looked at soon, since a demonstration has little patience. */
const loadWindowMs = 2_000
const loadRequests = 40
/** A part of a range that goes into the log of its neighbour at a time. */
const exportBytes = 128 * 1024
/** The middle of a range is looked for again when its size has changed by this share. */
const middleChange = 0.1

/** One range on one node: the lease holder's part of reading and writing. */
export class RangeReplica {
  readonly rangeId: number
  readonly group: RaftGroup
  readonly machine: RangeMachine
  readonly #ports: ReplicaPorts
  readonly #load: LoadSampler
  #middle: { readonly key: Uint8Array | undefined; readonly bytes: number } | undefined
  #seekingMiddle = false
  readonly #latches = new Latches()
  #writesSinceFlush = 0
  #flushing = false
  /** The next figure for the ledger, with the lease that it is right under. */
  #evaluated: { readonly token: LeaseToken; readonly served: number; readonly writes: number } | undefined
  /** What schema changes have to do here. */
  readonly schema: SchemaWork
  /** Writes served here since the replica was opened, for load reports. */
  writesServed = 0

  constructor(group: RaftGroup, machine: RangeMachine, ports: ReplicaPorts) {
    this.rangeId = group.groupId
    this.group = group
    this.machine = machine
    this.#ports = ports
    this.schema = new SchemaWork({
      group,
      machine,
      propose: (command, options) => this.#propose(command, options),
      moved: (why) => this.#moved(why),
    })
    this.#load = new LoadSampler({
      random: ports.env.random,
      windowMs: loadWindowMs,
      minimumRequests: loadRequests,
    })
  }

  /** The table whose rows the range holds. @throws KeelsonError `STALE_GENERATION` before the range has begun */
  get tableId(): number {
    const { bounds } = this.machine.layout
    if (bounds === undefined) throw this.#moved('the range has only begun')
    return tableOf(bounds)
  }

  /** Generation of the range as of what is applied here: that of its configuration, and one for each change of its bounds. */
  get generation(): number {
    const { appliedConfiguration } = this.group.status()
    return (appliedConfiguration?.generation ?? 0) + this.machine.layout.offset
  }

  /** Whether this node leads the range, and the range has begun. */
  get serves(): boolean {
    return this.group.token() !== undefined && this.machine.layout.bounds !== undefined
  }

  /** Requests a second. */
  requestsPerSecond(): number {
    return this.#load.requestsPerSecond(this.#nowMs())
  }

  /** Where the range could be split, as far as its lease holder knows. */
  splitKeys(): SplitKeys {
    const bySize = this.#middle?.key
    return { ...(bySize === undefined ? {} : { bySize }), ...this.#load.splitKeys(this.#nowMs()) }
  }

  /** Looks for the middle of the range again, when its size has changed. */
  async seekMiddle(minimumBytes: number): Promise<void> {
    const { bytes } = this.machine.layout
    const known = this.#middle
    if (this.#seekingMiddle || bytes < minimumBytes) return
    if (known !== undefined && Math.abs(bytes - known.bytes) < known.bytes * middleChange) return
    this.#seekingMiddle = true
    try {
      this.#middle = { key: await this.machine.middleKey(bytes), bytes }
    } finally {
      this.#seekingMiddle = false
    }
  }

  /** The range lies elsewhere: what was counted says nothing any more. */
  boundsChanged(): void {
    this.#load.reset()
    this.#middle = undefined
  }

  /** Opens a client session, for commands on a row if one is given. @throws KeelsonError `STALE_GENERATION` where that is not here */
  async openSession(key?: Uint8Array): Promise<number> {
    this.#checkTakes(key)
    return this.group.openSession()
  }

  /** Sets columns of rows. */
  async write(request: WriteRequest): Promise<void> {
    const keys = request.rows.map(({ key }) => key)
    if (await this.#tookEffectElsewhere(keys[0], request.command)) return
    this.#count(keys)
    await this.#latches.hold(keys, async () => {
      using pin = this.#ports.pin(this.tableId)
      await this.#propose(
        {
          type: 'write',
          tableId: this.tableId,
          version: pin.table.version,
          sequence: 0,
          indexes: indexPlans(pin.table),
          writes: request.rows.map(({ key, columns }) => ({ type: 'upsert', key, columns })),
        },
        { commandId: idOf(request.command), acknowledgedBelow: request.command.sequence },
      )
    })
    this.#served(request.rows.length)
  }

  /**
   * Adds to a column. The new row is evaluated here, from what the holder of the lease has applied, and is right only
   * while its lease stands: the proposal carries the lease's sequence, which is checked again where it is applied.
   */
  async increment(request: IncrementRequest): Promise<void> {
    if (await this.#tookEffectElsewhere(request.key, request.command)) return
    this.#count([request.key])
    await this.#latches.hold([request.key], async () => {
      using pin = this.#ports.pin(this.tableId)
      const token = this.group.token()
      if (token === undefined) throw this.#notLeader()
      const row = await this.machine.row(request.key)
      const before = row?.[request.column]
      const after: Row = {
        ...row,
        [request.column]: (typeof before === 'number' ? before : 0) + request.amount,
      }
      await this.#propose(
        {
          type: 'write',
          tableId: this.tableId,
          version: pin.table.version,
          sequence: token.sequence,
          indexes: indexPlans(pin.table),
          writes: [{ type: 'replace', key: request.key, row: after }],
        },
        { commandId: idOf(request.command), acknowledgedBelow: request.command.sequence, token },
      )
    })
    this.#served(1)
  }

  /** A row, with everything acknowledged before the call. */
  async read(key: Uint8Array, options: CallOptions): Promise<Row | undefined> {
    this.#checkTakes(key)
    this.#count([key])
    await this.group.read(options)
    const row = await this.machine.row(key)
    if (!this.machine.mayTell(key)) throw this.#moved('the key lies in another range', key)
    return row
  }

  /**
   * A page of rows, or of the entries of an index. A node whose schema lease was revoked does not know it yet: the range
   * does, so an index is believed only by a version that the range still takes.
   *
   * @throws KeelsonError `STALE_SCHEMA`
   */
  async page(
    request: PageRequest,
    index: { readonly plan: IndexPlan; readonly version: number } | undefined,
    options: CallOptions,
  ): Promise<PageResponse> {
    await this.group.read(options)
    const limit = Math.min(request.limit, 2000)
    const checkGeneration = (): void => {
      this.#checkTakes(undefined)
      if (request.generation !== 0 && request.generation !== this.generation)
        throw this.#moved(`the range has generation ${this.generation}`)
    }
    checkGeneration()
    if (index === undefined) {
      const page = await this.machine.rows(request.resumeAt, limit)
      checkGeneration()
      return {
        items: page.items.map(({ key, row }) => ({ key, value: encodeRow(row) })),
        resumeAt: page.resumeAt,
      }
    }
    const page = await this.machine.entries(index.plan.indexId, request.resumeAt, limit)
    checkGeneration()
    // After the entries were read: a barrier may have come in between.
    new SchemaFence(this.machine.facts).check(index.version)
    return { items: page.items.map(([key, value]) => ({ key, value })), resumeAt: page.resumeAt }
  }

  async facts(options: CallOptions): Promise<RangeFacts> {
    await this.group.read(options)
    this.#checkTakes(undefined)
    const { ledger, staleEffects } = this.machine.facts
    const sequence = this.group.token()?.sequence ?? 0
    const { start, end } = this.machine.layout.bounds as RangeBounds
    return { ledger, staleEffects, sequence, generation: this.generation, start, end }
  }

  /** Proposes what an earlier holder evaluated: its old sequence goes along, and the fence decides. */
  async takeForwarded(request: ForwardRequest): Promise<void> {
    await this.group.propose(request.command, {
      token: { groupId: this.rangeId, sequence: request.sequence },
    })
  }

  /**
   * Books the writes served: called again and again, it evaluates the new figure in one round and proposes it in the
   * next. The figure is absolute, so only the holder under whose lease it was evaluated may write it. One that loses its
   * lease in between passes it on, and learns that it came too late.
   *
   * @param anyway also when there is nothing new: by a node that stood still and does not know what it missed
   */
  async flushLedger(anyway: boolean): Promise<void> {
    if (this.#flushing) return
    const due = this.#evaluated
    if (due === undefined || (due.served === 0 && !anyway)) {
      const token = this.group.token()
      const served = this.#writesSinceFlush
      this.#evaluated =
        token === undefined ? undefined : { token, served, writes: this.machine.facts.ledger + served }
      if (token !== undefined) this.#writesSinceFlush = 0
      return
    }
    this.#evaluated = undefined
    this.#flushing = true
    const { token, writes } = due
    const command = encodeCommand({ type: 'ledger', sequence: token.sequence, writes })
    try {
      await this.group.propose(command, { token })
    } catch (error) {
      if (!KeelsonError.is(error)) throw error
      if (error.code === 'STALE_SEQUENCE') this.#ports.refused(this.rangeId, token.sequence, 'its ledger')
      else await this.#passOn({ rangeId: this.rangeId, sequence: token.sequence, command })
    } finally {
      this.#flushing = false
    }
  }

  /** Changes where the range lies, if it still has the generation that this is meant for. */
  async changeBounds(command: BoundsCommand, options: CallOptions): Promise<void> {
    await this.#propose(command, options)
  }

  /** The first command of a new range. */
  async begin(bounds: RangeBounds, options: CallOptions): Promise<void> {
    await this.#propose({ type: 'begin', bounds }, options)
  }

  /** Puts a part of a frozen neighbour aside. */
  async absorb(
    part: Omit<Extract<RangeCommand, { type: 'absorb' }>, 'type'>,
    options: CallOptions,
  ): Promise<void> {
    await this.#propose({ type: 'absorb', ...part }, options)
  }

  /** A part of this range, for the neighbour that takes it in. @throws KeelsonError `STALE_GENERATION` */
  async export(
    generation: number,
    resumeAt: Uint8Array | undefined,
    options: CallOptions,
  ): Promise<ExportResponse> {
    await this.group.read(options)
    if (this.machine.layout.frozen === undefined || this.generation !== generation)
      throw this.#moved('the range is not frozen, or was frozen anew')
    return { ...(await this.machine.exportPart(resumeAt, exportBytes)), ...this.machine.exportHead() }
  }

  /** @throws KeelsonError `STALE_GENERATION`, retryable, where the key is not here, and as `RangeMachine.tookEffectElsewhere` */
  async #tookEffectElsewhere(key: Uint8Array | undefined, command: CommandNumber): Promise<boolean> {
    this.#checkTakes(key)
    return this.machine.tookEffectElsewhere(command)
  }

  /** @throws KeelsonError `NOT_LEADER`, `STALE_GENERATION` */
  #checkTakes(key: Uint8Array | undefined): void {
    const { bounds, frozen } = this.machine.layout
    if (bounds === undefined) throw this.#moved('the range has only begun')
    if (frozen !== undefined) throw this.#moved('the range is being merged')
    if (key !== undefined && !this.machine.mayTell(key))
      throw this.#moved('the key lies in another range', key)
  }

  /**
   * Nothing was done, and nothing is remembered: the same may be tried again, there or elsewhere. The range that has the rows now
   * is named (`heldBy`): the directory may be away, and hear of it much later.
   */
  #moved(why: string, key?: Uint8Array): KeelsonError {
    const { splitOff, frozen, bounds } = this.machine.layout
    const isBehind = key !== undefined && bounds?.end !== undefined && compareBytes(key, bounds.end) >= 0
    const heldBy = frozen?.into ?? (isBehind ? splitOff?.rangeId : undefined)
    return new KeelsonError('STALE_GENERATION', `${why}; look range ${this.rangeId} up again`, {
      retryable: true,
      details: heldBy === undefined ? {} : { heldBy },
    })
  }

  #count(keys: readonly Uint8Array[]): void {
    const [first] = keys
    const last = keys.at(-1)
    if (first === undefined || last === undefined) return
    this.#load.record(this.#nowMs(), first, keys.length === 1 ? undefined : last)
  }

  #nowMs(): number {
    return this.#ports.env.clock.monotonicMs()
  }

  async #propose(
    command: RangeCommand,
    options: Parameters<RaftGroup['propose']>[1],
  ): Promise<CommandResult> {
    return decodeResult(await this.group.propose(encodeCommand(command), options))
  }

  async #passOn(request: ForwardRequest): Promise<void> {
    for (let attempt = 1; attempt <= forwardAttempts; attempt++) {
      try {
        await this.#ports.forward(request, this.group.status().leader?.nodeId)
        return
      } catch (error) {
        if (!KeelsonError.is(error)) throw error
        if (error.code !== 'STALE_SEQUENCE') continue
        this.#ports.refused(this.rangeId, request.sequence, 'its ledger')
        return
      }
    }
  }

  #served(rows: number): void {
    this.#writesSinceFlush += rows
    this.writesServed += rows
  }

  #notLeader(): KeelsonError {
    const leader = this.group.status().leader?.nodeId
    return new KeelsonError('NOT_LEADER', `this node does not lead range ${this.rangeId}; ask its leader`, {
      details: leader === undefined ? {} : { leaderNodeId: leader },
    })
  }
}

function idOf({ session, sequence }: CommandNumber): { readonly session: number; readonly sequence: number } {
  return { session, sequence }
}
