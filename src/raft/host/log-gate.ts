import { type Deferred, deferred } from '../../core/async.ts'
import { KeelsonError } from '../../core/errors.ts'
import {
  entryWriteBytes,
  type GroupWrite,
  groupWriteBytes,
  type HardState,
  type LogEntry,
  type LogPosition,
  type LogStore,
  type LogStoreLimits,
  type RecoveredGroup,
} from '../../interfaces/log-store.ts'
import type { GroupId, Incarnation } from '../../model/ids.ts'

/** What a caller waits for. */
interface Call {
  readonly done: Deferred<void>
  /** Pieces that the store has not settled. */
  left: number
  failure: { readonly error: unknown } | undefined
}

/** A part of a call that the store takes at a time. */
interface Piece {
  readonly call: Call
  readonly bytes: number
  readonly give: () => Promise<void>
}

/**
 * A host's log store, as all of the host uses it: nothing is ever too large for it or too much at a time. What exceeds the
 * store's limits is split into consecutive writes, or waits; order and what a caller is told stay the same.
 *
 * The host splits, not the store: a store cannot know where a write may be cut. To Raft each piece is a state that it might
 * have been in anyway. The first one has what may be promised on nothing but itself: the snapshot position, the replica's
 * identity, term and vote, and the first entries with the truncation that they mean. The following ones have entries,
 * and the last one the commit index that only they justify. After a crash in between, the log is a prefix of what a leader
 * sent in a term that is known here; and nobody was told more, as messages wait for the whole.
 */
export class LogGate implements LogStore {
  readonly incarnation: Incarnation
  readonly limits: LogStoreLimits
  readonly repair?: (groupId: GroupId, entries: readonly LogEntry[]) => Promise<void>
  readonly #store: LogStore
  /** Not given to the store yet, in order. */
  readonly #pieces: Piece[] = []
  /** Not settled yet, in order. */
  readonly #calls: Call[] = []
  #bytesUnderWay = 0

  constructor(store: LogStore) {
    this.#store = store
    this.incarnation = store.incarnation
    this.limits = store.limits
    if (store.repair !== undefined) {
      this.repair = async (groupId, entries) => {
        const parts = this.slices({ groupId, entries })
        return this.#call(
          parts.map((part) => [
            groupWriteBytes(part),
            async () => store.repair?.(groupId, part.entries as readonly LogEntry[]),
          ]),
        )
      }
    }
  }

  /** Undefined where the store does not say. */
  durablePosition(): number | undefined {
    return this.#store.durablePosition?.()
  }

  recovered(): ReadonlyMap<GroupId, RecoveredGroup> {
    return this.#store.recovered()
  }

  write(batch: readonly GroupWrite[]): Promise<void> {
    const parts = this.parts(batch)
    return this.#call(parts.map(([bytes, part]) => [bytes, async () => this.#store.write(part)]))
  }

  read(groupId: GroupId, from: number, to: number, maximumBytes: number): Promise<LogEntry[]> {
    return this.#store.read(groupId, from, to, maximumBytes)
  }

  compact(groupId: GroupId, through: LogPosition): Promise<void> {
    return this.#store.compact(groupId, through)
  }

  destroy(groupId: GroupId, tombstone: Uint8Array): Promise<void> {
    const bytes = groupWriteBytes({ groupId, metadata: tombstone })
    return this.#call([[bytes, async () => this.#store.destroy(groupId, tombstone)]])
  }

  async close(): Promise<void> {
    // Who waits for a write is told of its failure there.
    await this.#calls.at(-1)?.done.promise.catch(() => {})
    await this.#store.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Why a write can never be stored here, however it is split.
   *
   * @returns KeelsonError `LIMIT_EXCEEDED`
   */
  refusal({ groupId, entries = [] }: GroupWrite): KeelsonError | undefined {
    const { writeBytes } = this.limits
    const large = entries.find((entry) => entryBytes(entry) > writeBytes)
    if (large === undefined) return undefined
    return new KeelsonError(
      'LIMIT_EXCEEDED',
      `entry ${large.index} of group ${groupId} has ${large.data.length} bytes, and the log store of this node takes ` +
        `writes of up to ${writeBytes}: open the host with a store that takes larger ones, as its leader's does`,
      { details: { groupId, index: large.index, bytes: large.data.length, limit: writeBytes } },
    )
  }

  /**
   * Consecutive writes that the store takes, with their sizes.
   *
   * @internal
   */
  parts(batch: readonly GroupWrite[]): readonly (readonly [bytes: number, part: readonly GroupWrite[]])[] {
    const { writeBytes } = this.limits
    const whole = batch.reduce((sum, write) => sum + groupWriteBytes(write), 0)
    if (whole <= writeBytes) return [[whole, batch]]
    const parts: [number, GroupWrite[]][] = []
    for (const slice of batch.flatMap((write) => this.slices(write))) {
      const bytes = groupWriteBytes(slice)
      const last = parts.at(-1)
      if (last === undefined || last[0] + bytes > writeBytes) parts.push([bytes, [slice]])
      else {
        last[0] += bytes
        last[1].push(slice)
      }
    }
    return parts
  }

  /**
   * One write to a group as consecutive ones, each within the limit as far as its entries are.
   *
   * @internal
   */
  slices(write: GroupWrite): GroupWrite[] {
    const { writeBytes } = this.limits
    const { entries = [] } = write
    if (entries.length === 0 || groupWriteBytes(write) <= writeBytes) return [write]
    const { groupId, hardState } = write
    const head = headOf(write)
    const isBare = Object.keys(head).length === 1
    const count = this.#fitting(entries, 0, writeBytes - groupWriteBytes(head), isBare)
    const slices: GroupWrite[] = [count === 0 ? head : { ...head, entries: entries.slice(0, count) }]
    for (let from = count; from < entries.length; ) {
      const to = this.#fitting(entries, from, writeBytes - groupWriteBytes({ groupId }), true)
      slices.push({ groupId, entries: entries.slice(from, to) })
      from = to
    }
    if (hardState === undefined) return slices
    return this.justified(slices, hardState, (entries[0] as LogEntry).index + count - 1)
  }

  /**
   * Term and vote go with the first slice, and so much of the commit index as it justifies; the rest with the last.
   *
   * @param index that the log ends with after the first slice
   * @internal
   */
  justified(slices: readonly GroupWrite[], hardState: HardState, index: number): GroupWrite[] {
    const [first, ...others] = slices as [GroupWrite, ...GroupWrite[]]
    const last = others.pop() as GroupWrite
    const { commit } = hardState
    return [
      { ...first, hardState: { ...hardState, commit: Math.min(commit, index) } },
      ...others,
      commit > index ? { ...last, hardState } : last,
    ]
  }

  /** End of the entries, from a place on, that fit into so many bytes; at least one where it is asked for. */
  #fitting(entries: readonly LogEntry[], from: number, bytes: number, atLeastOne: boolean): number {
    let to = from
    for (let room = bytes; to < entries.length; to++) {
      room -= entryWriteBytes + (entries[to] as LogEntry).data.length
      if (room < 0 && !(atLeastOne && to === from)) break
    }
    return to
  }

  #call(pieces: readonly (readonly [bytes: number, give: () => Promise<void>])[]): Promise<void> {
    const call: Call = { done: deferred<void>(), left: pieces.length, failure: undefined }
    this.#calls.push(call)
    for (const [bytes, give] of pieces) this.#pieces.push({ call, bytes, give })
    this.#give()
    return call.done.promise
  }

  /** Gives pieces to the store, as many as it takes; one at the least. */
  #give(): void {
    for (let piece = this.#pieces[0]; piece !== undefined; piece = this.#pieces[0]) {
      if (this.#bytesUnderWay > 0 && this.#bytesUnderWay + piece.bytes > this.limits.queuedBytes) return
      this.#pieces.shift()
      if (piece.call.failure === undefined) void this.#settle(piece)
      else piece.call.left--
    }
  }

  async #settle({ call, bytes, give }: Piece): Promise<void> {
    this.#bytesUnderWay += bytes
    try {
      await give()
    } catch (error) {
      call.failure ??= { error }
    }
    this.#bytesUnderWay -= bytes
    call.left--
    this.#give()
    // In order, whatever came first: that is what a store promises.
    for (let first = this.#calls[0]; first !== undefined && first.left === 0; first = this.#calls[0]) {
      this.#calls.shift()
      if (first.failure === undefined) first.done.resolve()
      else first.done.reject(first.failure.error)
    }
  }
}

function entryBytes(entry: LogEntry): number {
  return groupWriteBytes({ groupId: 0, entries: [entry] })
}

/** A write without its entries. */
function headOf({ groupId, reset, hardState, metadata }: GroupWrite): GroupWrite {
  return {
    groupId,
    ...(reset === undefined ? {} : { reset }),
    ...(hardState === undefined ? {} : { hardState }),
    ...(metadata === undefined ? {} : { metadata }),
  }
}
