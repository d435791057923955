import { type CallOptions, deferred, onAbort } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { RangeResult } from '../../interfaces/metadata-store.ts'
import { nameOfSession, placeOfSession } from '../lost-numbers.ts'
import { encodeCommand, encodeTransactionCommand, type MetadataCommand } from '../mvcc/commands.ts'
import type { MetadataStateMachine } from '../mvcc/state-machine.ts'
import { openOutcome } from '../mvcc/wire.ts'
import {
  type Batch,
  type BatchAnswer,
  type BatchItem,
  checkEmpty,
  decodeBatch,
  decodeGrant,
  decodeNumber,
  decodeRead,
  decodeTransaction,
  emptyMessage,
  encodeAnswers,
  encodeNumber,
  encodeRangeResult,
  encodeSessions,
  encodeVerification,
  methods,
  type ReadRequest,
} from '../protocol.ts'
import { checkRead, readRange } from '../reads.ts'
import { checkHolder, checkTtl } from '../sessions/limits.ts'
import { BatchWrites, type Write } from './batch-writes.ts'
import type { MetadataGroup } from './group.ts'
import type { SessionService } from './session-service.ts'

/** What {@link RequestHandlers} are made of. */
export interface HandlerOptions {
  readonly env: Environment
  readonly group: MetadataGroup
  readonly machine: MetadataStateMachine
  readonly sessions: SessionService
  readonly quotaBytes: number
  /** Largest answer. */
  readonly maximumBodyBytes: number
}

/** No question about who leads is kept for longer. */
const maximumQuestionMs = 10_000

/** Answers one request. */
export type Handler = (body: Uint8Array, call: CallOptions) => Promise<Uint8Array>

/** What a server answers, from bytes to bytes: the same for requests from the network and from its own store. */
export class RequestHandlers {
  readonly #options: HandlerOptions
  readonly byMethod: ReadonlyMap<string, Handler>
  #settledGeneration: number | undefined

  constructor(options: HandlerOptions) {
    this.#options = options
    const { group, machine, sessions } = options
    this.byMethod = new Map<string, Handler>([
      [methods.batch, async (body) => this.#batch(body)],
      [methods.local, async (body) => encodeRangeResult(this.readLocal(decodeRead(body)))],
      [
        methods.open,
        async (body, call) => {
          checkEmpty(body)
          return encodeNumber(nameOfSession(await group.openSession(call), this.#recoveryGeneration()))
        },
      ],
      [
        methods.compact,
        async (body, call) => {
          openOutcome(await this.#propose({ type: 'compact', revision: decodeNumber(body) }, call))
          return emptyMessage
        },
      ],
      [
        methods.renew,
        async (body, call) => {
          await sessions.renew(decodeNumber(body), call)
          return emptyMessage
        },
      ],
      [
        methods.revoke,
        async (body, call) => {
          await sessions.revoke(decodeNumber(body), call)
          return emptyMessage
        },
      ],
      [
        methods.sessions,
        async (body, call) => {
          checkEmpty(body)
          await group.read(call)
          return encodeSessions(machine.reader.sessions())
        },
      ],
      [
        methods.leads,
        async (body, call) => {
          await this.#untilLeading(Math.min(decodeNumber(body), maximumQuestionMs), call)
          return encodeNumber(group.token() === undefined ? 0 : 1)
        },
      ],
      [
        methods.verified,
        async (body) => {
          checkEmpty(body)
          return encodeVerification(machine.verified)
        },
      ],
    ])
  }

  /** Reads what this replica has. */
  readLocal(read: ReadRequest): RangeResult {
    checkRead(read.select, read)
    return readRange(this.#options.machine.reader, read.select, read, this.#options.maximumBodyBytes * 0.9)
  }

  /** Resolves when this server leads, the time is over, or nobody waits any more. */
  async #untilLeading(waitMs: number, { signal }: CallOptions): Promise<void> {
    const { env, group } = this.#options
    if (group.token() !== undefined || signal?.aborted === true) return
    const done = deferred<void>()
    const end = (): void => done.resolve()
    const timer = env.timers.schedule(waitMs, end)
    const stopListening = group.on('token', (token) => {
      if (token !== undefined) end()
    })
    const release = signal === undefined ? undefined : onAbort(signal, end)
    await done.promise
    timer.cancel()
    stopListening()
    release?.()
  }

  async #propose(command: MetadataCommand, call: CallOptions): Promise<Uint8Array> {
    return this.#options.group.propose(encodeCommand(command), call)
  }

  /** Hundreds of requests share a caller's signal, which is not even asked for: what is handed on ends by itself. */
  async #batch(body: Uint8Array): Promise<Uint8Array> {
    const batch = decodeBatch(body)
    const { items } = batch
    const answers: BatchAnswer[] = []
    const reads: number[] = []
    const writes = new BatchWrites()
    for (let place = 0; place < items.length; place++) {
      const item = items[place] as BatchItem
      if (item.type === 'read') reads.push(place)
      else this.#collect(item, place, writes, answers)
    }
    const reading = reads.length > 0 ? this.#answerReads(items, reads, answers) : undefined
    if (writes.size > 0) await this.#answerWrites(batch, writes.ascending(), answers)
    await reading
    return encodeAnswers(answers, this.#options.maximumBodyBytes)
  }

  /** One barrier serves all reads of a batch, as they all came before it. Never rejects. */
  async #answerReads(
    items: readonly BatchItem[],
    places: readonly number[],
    answers: BatchAnswer[],
  ): Promise<void> {
    try {
      await this.#options.group.read()
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      for (const place of places) answers[place] = error
      return
    }
    for (const place of places) {
      try {
        answers[place] = encodeRangeResult(this.readLocal(decodeRead((items[place] as BatchItem).body)))
      } catch (error) {
        answers[place] = toKeelsonError(error)
      }
    }
  }

  /** Makes the command of a write, or answers it at once. */
  #collect(item: BatchItem, place: number, writes: BatchWrites, answers: BatchAnswer[]): void {
    const { sequence } = item
    try {
      const data = this.#command(item)
      if (sequence >= 1 && writes.add({ place, sequence, data })) return
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the writes of a batch have sequences of their own, from 1 on, but ${sequence} is not one`,
      )
    } catch (error) {
      answers[place] = toKeelsonError(error)
    }
  }

  /** Of the group, which is recovered from a lost quorum only while it is stopped: for who leads it is settled. */
  #recoveryGeneration(): number {
    if (this.#settledGeneration !== undefined) return this.#settledGeneration
    const { group } = this.#options
    const { recoveryGeneration } = group.status()
    if (group.token() !== undefined) this.#settledGeneration = recoveryGeneration
    return recoveryGeneration
  }

  /** Writes of one client, which may have asked for some of them before: each has its own place in the session. */
  async #answerWrites(batch: Batch, writes: readonly Write[], answers: BatchAnswer[]): Promise<void> {
    const { clientSession, acknowledgedBelow } = batch
    try {
      const session = placeOfSession(clientSession, this.#recoveryGeneration())
      if (session === undefined) throw sessionOfThePast(clientSession)
      const results = await this.#options.group.proposeBatch(writes, { session, acknowledgedBelow })
      for (let i = 0; i < writes.length; i++) {
        answers[(writes[i] as Write).place] = results[i] as BatchAnswer
      }
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      for (const { place } of writes) answers[place] = error
    }
  }

  #command(item: BatchItem): Uint8Array {
    if (item.type === 'txn') {
      const { quotaBytes } = this.#options
      const command = encodeTransactionCommand(quotaBytes, item.body)
      return command ?? encodeCommand({ type: 'txn', quotaBytes, transaction: decodeTransaction(item.body) })
    }
    const { holder, ttlMs } = decodeGrant(item.body)
    checkHolder(holder)
    checkTtl(ttlMs)
    return encodeCommand({ type: 'grant', holder, ttlMs })
  }
}

/** The handler of a method. @throws KeelsonError `UNSUPPORTED` */
export function handlerOf(handlers: RequestHandlers, method: string): Handler {
  const handler = handlers.byMethod.get(method)
  if (handler !== undefined) return handler
  throw new KeelsonError(
    'UNSUPPORTED',
    `a metadata server has no method ${method}; its release may be an older one`,
  )
}

function sessionOfThePast(session: number): KeelsonError {
  return new KeelsonError(
    'SESSION_UNKNOWN',
    `the client session ${session} is of before the store was recovered from a lost quorum; open a new one. What became of its commands is not known`,
    { details: { session } },
  )
}
