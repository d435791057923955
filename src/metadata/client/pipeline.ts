import { abortError, type CallOptions, onAbort } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import {
  type BatchAnswer,
  type BatchItemType,
  decodeAnswers,
  decodeNumber,
  emptyMessage,
  encodeBatch,
  methods,
} from '../protocol.ts'
import type { LeaderFinder } from './leader-finder.ts'
import type { AskServer, ClientTuning } from './options.ts'
import { finalAnswer, isFinal, type Router, timedOut } from './router.ts'
import { Row } from './row.ts'

/** What a {@link Pipeline} is made of. */
export interface PipelineOptions {
  readonly env: Environment
  readonly tuning: ClientTuning
  readonly router: Router
  readonly ask: AskServer
  readonly finder: LeaderFinder
  readonly closed: AbortSignal
}

interface Call {
  readonly type: BatchItemType
  readonly body: Uint8Array
  readonly endMs: number
  /** Makes of the answer what the caller gets. */
  readonly decode: (answer: Uint8Array) => unknown
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
  /** Among all calls. */
  place: number
  /** Among the writes of its client session without an answer. */
  openPlace: number
  /** Takes the abort listener off. */
  release: (() => void) | undefined
  /** Client session and sequence of a write, once it was sent; 0 before. */
  session: number
  sequence: number
  /** An attempt may have taken effect. */
  unknown: boolean
  sending: boolean
  settled: boolean
  last: KeelsonError | undefined
}

/** Requests in one batch. */
const batchItems = 512
/** Bytes in one batch; a single larger request goes alone. */
const batchBytes = 256 * 1024
/** What an item costs beside its body, at most. */
const itemBytes = 24
/** So many writes are a batch by themselves, whatever is under way. */
const worthwhileWrites = 64
/** Fewer wait for the batch of writes that is under way, but no longer than this. */
const longestHoldMs = 5

/**
 * Sends transactions, grants and linearizable reads to the leader: those of one turn of the event loop together. A
 * write has a place in a client session of the Raft group, so that it takes effect once however often it is sent; an
 * attempt of unknown outcome is followed by others with the same id until there is an answer or the time is over.
 *
 * What a batch of writes costs the servers, in messages, wake-ups and durable writes, hardly depends on what is in it. So a
 * few writes wait for the batch that is under way and go together with those who ask again when it is answered: callers
 * that once came apart come together again. Reads never wait for writes.
 */
export class Pipeline {
  readonly #options: PipelineOptions
  /** All calls that are not settled, in the order in which they came: the order of their deadlines. */
  readonly #calls = new Row<Call>()
  #queue: Call[] = []
  #session = 0
  #opening = false
  #lastSequence = 0
  /** Writes of the present session without an answer, by sequence, ascending. */
  readonly #open = new Row<Call>()
  #failures = 0
  #backoff: TimerHandle | undefined
  #flushing = false
  #deadline: TimerHandle | undefined
  /** Batches with writes that are not answered. */
  #writing = 0
  /** When writes that wait for a batch under way have waited long enough. */
  #hold: TimerHandle | undefined
  #holdOver = false

  constructor(options: PipelineOptions) {
    this.#options = options
    const { closed } = options
    onAbort(closed, () => this.#failAll())
  }

  /**
   * Resolves with what `decode` makes of the answer.
   *
   * @throws KeelsonError `OVERLOADED`, `TIMEOUT`, `OUTCOME_UNKNOWN`, `ABORTED`, `CLOSED`, final answers (with the outcome `unknown`
   * where an earlier attempt may have taken effect), and what `decode` throws
   */
  // Not an async function: on the hot path one promise is enough.
  run<T>(
    type: BatchItemType,
    body: Uint8Array,
    decode: (answer: Uint8Array) => T,
    options: CallOptions,
  ): Promise<T> {
    const { signal } = options
    const refusal = this.#refusal(signal)
    if (refusal !== undefined) return Promise.reject(refusal)
    return new Promise((resolve, reject) => {
      const { env, tuning } = this.#options
      const call: Call = {
        type,
        body,
        endMs: env.clock.monotonicMs() + tuning.callTimeoutMs,
        decode,
        resolve,
        reject,
        place: 0,
        openPlace: 0,
        release: undefined,
        session: 0,
        sequence: 0,
        unknown: false,
        sending: false,
        settled: false,
        last: undefined,
      }
      if (signal !== undefined) {
        call.release = onAbort(signal, () => {
          const unknown = call.unknown || (call.sending && type !== 'read')
          this.#settle(call, abortError(signal, unknown ? 'unknown' : 'none'))
        })
      }
      call.place = this.#calls.add(call)
      this.#queue.push(call)
      this.#armDeadline()
      this.#plan()
    })
  }

  #refusal(signal: AbortSignal | undefined): KeelsonError | undefined {
    const { tuning, closed } = this.#options
    if (closed.aborted) return abortError(closed)
    if (signal?.aborted === true) return abortError(signal)
    if (this.#calls.size < tuning.maximumQueued) return undefined
    return new KeelsonError(
      'OVERLOADED',
      `${this.#calls.size} calls of the metadata store wait already; try again later`,
    )
  }

  /** Sends what is queued at the end of the turn. */
  #plan(): void {
    if (this.#flushing || this.#backoff !== undefined) return
    this.#flushing = true
    this.#options.env.timers.defer(() => {
      this.#flushing = false
      while (this.#flush());
    })
  }

  /** Sends one batch. @returns whether there is more to send */
  #flush(): boolean {
    if (this.#backoff !== undefined || this.#options.closed.aborted) return false
    const batch = this.#take(this.#holdsWrites())
    if (batch.length === 0) return false
    const session = batch.find((call) => call.type !== 'read')?.session ?? 0
    for (const call of batch) call.sending = true
    void this.#send(batch, session)
    return this.#queue.length > 0
  }

  /** Whether the writes that are queued wait for the batch under way. */
  #holdsWrites(): boolean {
    if (this.#writing === 0 || this.#holdOver) return false
    let writes = 0
    for (const { type, settled } of this.#queue) if (type !== 'read' && !settled) writes++
    if (writes === 0 || writes >= worthwhileWrites) return false
    this.#hold ??= this.#options.env.timers.schedule(longestHoldMs, () => {
      this.#hold = undefined
      this.#holdOver = true
      this.#plan()
    })
    return true
  }

  /** Writes leave, or none are under way that others could wait for. */
  #endHold(): void {
    this.#hold?.cancel()
    this.#hold = undefined
    this.#holdOver = false
  }

  /** Takes the next batch from the queue: reads, and writes of one client session unless they are held. */
  #take(held: boolean): Call[] {
    const batch: Call[] = []
    const rest: Call[] = []
    let bytes = 0
    let session: number | undefined
    for (const call of this.#queue) {
      if (call.settled) continue
      const full = batch.length >= batchItems || (batch.length > 0 && bytes + call.body.length > batchBytes)
      if (full || (call.type !== 'read' && (held || !this.#enroll(call, session)))) {
        rest.push(call)
        continue
      }
      if (call.type !== 'read') session = call.session
      bytes += call.body.length + itemBytes
      batch.push(call)
    }
    this.#queue = rest
    return batch
  }

  /** Gives a write its place in the client session. False when it must wait, or belongs to another session. */
  #enroll(call: Call, session: number | undefined): boolean {
    if (call.sequence === 0) {
      if (this.#session === 0) {
        if (!this.#opening) void this.#openSession()
        return false
      }
      if (session !== undefined && session !== this.#session) return false
      if (this.#open.size >= this.#options.tuning.maximumInFlight) return false
      call.session = this.#session
      call.sequence = ++this.#lastSequence
      call.openPlace = this.#open.add(call)
      return true
    }
    return session === undefined || session === call.session
  }

  async #openSession(): Promise<void> {
    const { router } = this.#options
    this.#opening = true
    try {
      const answer = await router.call(methods.open, emptyMessage, { to: 'leader', write: false })
      this.#session = decodeNumber(answer)
      this.#lastSequence = 0
      this.#open.clear()
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      for (const call of this.#queue) {
        if (call.type === 'read') continue
        call.last = error
        if (isFinal(error)) this.#refuse(call, error)
      }
    } finally {
      this.#opening = false
      // Those whose time is over end by it; the others have it tried again.
      if (this.#queue.length > 0) this.#plan()
    }
  }

  async #send(batch: readonly Call[], session: number): Promise<void> {
    const { router, ask, finder, tuning } = this.#options
    const peer = router.leader()
    if (peer === undefined) {
      this.#again(batch, undefined, false)
      return
    }
    const lowest = this.#open.first?.sequence ?? this.#lastSequence + 1
    const acknowledgedBelow = session === this.#session ? lowest : 0
    let answers: BatchAnswer[]
    if (session !== 0) {
      this.#writing++
      this.#endHold()
    }
    try {
      const { attemptTimeoutMs: timeoutMs } = tuning
      const body = encodeBatch({ clientSession: session, acknowledgedBelow, items: batch })
      const answer = finder.attempt(peer, ask(peer, methods.batch, body, { timeoutMs }))
      answers = decodeAll(await answer, batch.length)
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      this.#written(session)
      this.#again(batch, error, this.#options.router.failed(peer, error))
      return
    }
    this.#written(session)
    this.#settleBatch(batch, answers, peer)
  }

  /** A batch has come to an end; nobody waits for it any more. */
  #written(session: number): void {
    if (session === 0) return
    this.#writing--
    if (this.#writing > 0) return
    this.#endHold()
    if (this.#queue.length > 0) this.#plan()
  }

  #settleBatch(batch: readonly Call[], answers: readonly BatchAnswer[], peer: string): void {
    const { router } = this.#options
    const again: Call[] = []
    let worst: KeelsonError | undefined
    let answered = false
    batch.forEach((call, i) => {
      const answer = answers[i] as BatchAnswer
      if (answer instanceof Uint8Array) {
        answered = true
        this.#settle(call, answer)
      } else if (answer.code === 'SESSION_UNKNOWN') this.#sessionLost(call, answer, again)
      else if (isFinal(answer)) {
        answered = true
        this.#refuse(call, answer)
      } else {
        worst = answer
        again.push(call)
        this.#note(call, answer)
      }
    })
    if (answered) {
      router.leads(peer)
      this.#failures = 0
    }
    if (worst !== undefined) this.#requeue(again, router.failed(peer, worst))
    else this.#requeue(again, true)
    if (this.#queue.length > 0) this.#plan()
  }

  /** The group forgot the client session. A command that was never attempted before surely had no effect. */
  #sessionLost(call: Call, error: KeelsonError, again: Call[]): void {
    if (call.session === this.#session) {
      this.#session = 0
      this.#open.clear()
    }
    if (call.unknown) {
      this.#settle(call, new KeelsonError('OUTCOME_UNKNOWN', error.message, { cause: error }))
      return
    }
    call.session = 0
    call.sequence = 0
    call.sending = false
    again.push(call)
  }

  /** A whole batch failed. */
  #again(batch: readonly Call[], error: KeelsonError | undefined, atOnce: boolean): void {
    for (const call of batch) this.#note(call, error)
    if (error !== undefined && isFinal(error)) {
      for (const call of batch) this.#refuse(call, error)
      return
    }
    this.#requeue(batch, atOnce)
  }

  #note(call: Call, error: KeelsonError | undefined): void {
    call.sending = false
    call.last = error ?? call.last
    if (error?.outcome === 'unknown' && call.type !== 'read') call.unknown = true
  }

  #requeue(calls: readonly Call[], atOnce: boolean): void {
    const live = calls.filter((call) => !call.settled)
    if (live.length === 0) return
    // They were there before the others.
    this.#queue = [...live, ...this.#queue]
    if (atOnce) {
      this.#plan()
      return
    }
    if (this.#backoff !== undefined) return
    const { router, finder, env } = this.#options
    const waitMs = router.backoffMs(this.#failures++)
    const timer = env.timers.schedule(waitMs, () => this.#resume())
    const stop = router.lost
      ? finder.seek((leader) => {
          router.found(leader)
          this.#resume()
        })
      : undefined
    this.#backoff = {
      cancel: () => {
        timer.cancel()
        stop?.()
      },
    }
  }

  /** The wait between attempts is over. */
  #resume(): void {
    this.#backoff?.cancel()
    this.#backoff = undefined
    this.#plan()
  }

  #settle(call: Call, outcome: Uint8Array | KeelsonError): void {
    if (call.settled) return
    call.settled = true
    call.release?.()
    this.#calls.remove(call.place)
    if (call.sequence > 0 && call.session === this.#session) this.#open.remove(call.openPlace)
    if (outcome instanceof KeelsonError) call.reject(outcome)
    else answer(call, outcome)
  }

  /** Ends a call by what a server said before anything went into the log: what the log itself refuses is an answer. */
  #refuse(call: Call, error: KeelsonError): void {
    this.#settle(call, finalAnswer(error, call.unknown))
  }

  /** Where nobody waits any more the timer stays: the next caller mostly comes at once, and has a later deadline. */
  #armDeadline(): void {
    if (this.#deadline !== undefined) return
    const { first } = this.#calls
    if (first === undefined) return
    const { env, tuning } = this.#options
    const waitMs = Math.max(0, first.endMs - env.clock.monotonicMs())
    this.#deadline = env.timers.schedule(waitMs, () => {
      this.#deadline = undefined
      const now = env.clock.monotonicMs()
      for (let call = this.#calls.first; call !== undefined && call.endMs <= now; call = this.#calls.first) {
        const unknown = call.unknown || (call.sending && call.type !== 'read')
        this.#settle(call, timedOut(tuning.callTimeoutMs, unknown, call.last))
      }
      this.#armDeadline()
    })
  }

  #failAll(): void {
    const { closed } = this.#options
    this.#backoff?.cancel()
    this.#endHold()
    this.#deadline?.cancel()
    this.#deadline = undefined
    for (let call = this.#calls.first; call !== undefined; call = this.#calls.first) {
      const unknown = call.unknown || (call.sending && call.type !== 'read')
      const { code, message } = abortError(closed)
      this.#settle(call, new KeelsonError(code, message, { outcome: unknown ? 'unknown' : 'none' }))
    }
    this.#queue = []
  }
}

function answer({ decode, resolve, reject }: Call, bytes: Uint8Array): void {
  let value: unknown
  try {
    value = decode(bytes)
  } catch (error) {
    reject(error)
    return
  }
  resolve(value as never)
}

function decodeAll(bytes: Uint8Array, count: number): BatchAnswer[] {
  try {
    const answers = decodeAnswers(bytes)
    if (answers.length === count) return answers
    throw new KeelsonError('MALFORMED', `${count} requests got ${answers.length} answers`)
  } catch (cause) {
    // The server has done something all the same.
    throw new KeelsonError('OUTCOME_UNKNOWN', 'the answers to a batch could not be read', { cause })
  }
}
