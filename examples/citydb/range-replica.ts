import {
  type CallOptions,
  KeelsonError,
  type SchemaChunk,
  type SchemaChunkResult,
  type SchemaValidation,
} from 'keelson'
import type { LeaseToken, RaftGroup } from 'keelson/raft'
import { SchemaFence } from 'keelson/schema'
import { type CommandResult, decodeResult, encodeCommand, type RangeCommand } from './commands.ts'
import { Latches } from './latches.ts'
import type {
  ForwardRequest,
  IncrementRequest,
  PageRequest,
  PageResponse,
  RangeFacts,
  WriteRequest,
} from './protocol.ts'
import type { RangeMachine } from './range-machine.ts'
import { encodeRow, type IndexPlan, indexPlans, type Row } from './schema.ts'

/** A version of the table that a piece of work is planned under. */
export interface TablePin extends Disposable {
  readonly table: SchemaChunk['table']
}

/** What a replica needs of its node. */
export interface ReplicaPorts {
  readonly pin: (tableId: number) => TablePin
  /** Hands a proposal on to the node that leads the range now. */
  readonly forward: (request: ForwardRequest, leader: string | undefined) => Promise<void>
  /** Called for every effect of this node that was refused because a newer lease holder had taken over. */
  readonly refused: (rangeId: number, sequence: number, what: string) => void
}

const forwardAttempts = 25

/** One range on one node: the lease holder's part of reading and writing. */
export class RangeReplica {
  readonly rangeId: number
  readonly group: RaftGroup
  readonly machine: RangeMachine
  readonly #ports: ReplicaPorts
  readonly tableId: number
  readonly #latches = new Latches()
  #writesSinceFlush = 0
  #flushing = false
  /** The next figure for the ledger, with the lease that it is right under. */
  #evaluated: { readonly token: LeaseToken; readonly served: number; readonly writes: number } | undefined
  /** Writes served here since the replica was opened, for load reports. */
  writesServed = 0

  constructor(tableId: number, group: RaftGroup, machine: RangeMachine, ports: ReplicaPorts) {
    this.rangeId = group.groupId
    this.group = group
    this.machine = machine
    this.tableId = tableId
    this.#ports = ports
  }

  /** Sets columns of rows. */
  async write(request: WriteRequest): Promise<void> {
    const keys = request.rows.map(({ key }) => key)
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
        { commandId: request.command, acknowledgedBelow: request.command.sequence },
      )
    })
    this.#served(request.rows.length)
  }

  /**
   * Adds to a column. The new row is evaluated here, from what the holder of the lease has applied, and is right only
   * while its lease stands: the proposal carries the lease's sequence, which is checked again where it is applied.
   */
  async increment(request: IncrementRequest): Promise<void> {
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
        { commandId: request.command, acknowledgedBelow: request.command.sequence, token },
      )
    })
    this.#served(1)
  }

  /** A row, with everything acknowledged before the call. */
  async read(key: Uint8Array, options: CallOptions): Promise<Row | undefined> {
    await this.group.read(options)
    return this.machine.row(key)
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
    if (index === undefined) {
      const page = await this.machine.rows(request.resumeAt, limit)
      return {
        items: page.items.map(({ key, row }) => ({ key, value: encodeRow(row) })),
        resumeAt: page.resumeAt,
      }
    }
    const page = await this.machine.entries(index.plan.indexId, request.resumeAt, limit)
    // After the entries were read: a barrier may have come in between.
    new SchemaFence(this.machine.facts).check(index.version)
    return { items: page.items.map(([key, value]) => ({ key, value })), resumeAt: page.resumeAt }
  }

  async facts(options: CallOptions): Promise<RangeFacts> {
    await this.group.read(options)
    const { ledger, staleEffects } = this.machine.facts
    return { ledger, staleEffects, sequence: this.group.token()?.sequence ?? 0 }
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

  async barrier(chunk: SchemaChunk, options: CallOptions): Promise<void> {
    await this.#propose(
      {
        type: 'barrier',
        tableId: chunk.table.tableId,
        minimumVersion: chunk.table.version,
        epoch: chunk.epoch,
      },
      options,
    )
  }

  async backfill(chunk: SchemaChunk, options: CallOptions): Promise<SchemaChunkResult> {
    return this.#propose(
      {
        type: 'backfill',
        tableId: chunk.table.tableId,
        index: planOf(chunk),
        resumeAt: chunk.resumeAt,
        maximumRows: chunk.maximumRows,
        epoch: chunk.epoch,
      },
      options,
    )
  }

  async validate(chunk: SchemaChunk, options: CallOptions): Promise<SchemaValidation> {
    await this.group.read(options)
    return this.machine.validate(planOf(chunk), chunk.resumeAt, chunk.maximumRows)
  }

  async purge(chunk: SchemaChunk, options: CallOptions): Promise<SchemaChunkResult> {
    return this.#propose(
      {
        type: 'purge',
        tableId: chunk.table.tableId,
        indexId: chunk.elementId,
        maximumRows: chunk.maximumRows,
        epoch: chunk.epoch,
      },
      options,
    )
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

function planOf(chunk: SchemaChunk): IndexPlan {
  const element = chunk.table.elements.find(({ elementId }) => elementId === chunk.elementId)
  if (element?.type !== 'index' || element.state === 'absent') {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `element ${chunk.elementId} of ${chunk.table.name} is no index to work on`,
    )
  }
  return { indexId: element.elementId, columns: element.columns, state: element.state }
}
