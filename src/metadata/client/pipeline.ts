import { abortError, type CallOptions, type Deferred, deferred, onAbort } from '../../core/async.ts'
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
import { isFinal, type Router, timedOut } from './router.ts'

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
  readonly done: Deferred<Uint8Array>
  release: () => void
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

/**
 * Sends transactions, grants and linearizable reads to the leader: those of one turn of the event loop together. A
 * write has a place in a client session of the Raft group, so that it takes effect once however often it is sent; an
 * attempt of unknown outcome is followed by others with the same id until there is an answer or the time is over.
 */
export class Pipeline {
  readonly #options: PipelineOptions
  /** All calls that are not settled, in the order in which they came: the order of their deadlines. */
  readonly #calls = new Set<Call>()
  #queue: Call[] = []
  #session = 0
  #opening = false
  #lastSequence = 0
  /** Writes of the present session without an answer, by sequence, ascending. */
  readonly #open = new Map<number, Call>()
  #failures = 0
  #backoff: TimerHandle | undefined
  #flushing = false
  #deadline: TimerHandle | undefined

  constructor(options: PipelineOptions) {
    this.#options = options
    const { closed } = options
    onAbort(closed, () => this.#failAll())
  }

  /** @throws KeelsonError `OVERLOADED`, `TIMEOUT`, `OUTCOME_UNKNOWN`, `ABORTED`, `CLOSED`, and final answers */
  async run(type: BatchItemType, body: Uint8Array, options: CallOptions): Promise<Uint8Array> {
    const { env, tuning, closed } = this.#options
    const { signal } = options
    if (closed.aborted) throw abortError(closed)
    if (signal?.aborted === true) throw abortError(signal)
    if (this.#calls.size >= tuning.maximumQueued) {
      throw new KeelsonError(
        'OVERLOADED',
        `${this.#calls.size} calls of the metadata store wait already; try again later`,
      )
    }
    const call: Call = {
      type,
      body,
      endMs: env.clock.monotonicMs() + tuning.callTimeoutMs,
      done: deferred(),
      release: () => {},
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
    this.#calls.add(call)
    this.#queue.push(call)
    this.#armDeadline()
    this.#plan()
    return call.done.promise
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
    const batch = this.#take()
    if (batch.length === 0) return false
    const session = batch.find((call) => call.type !== 'read')?.session ?? 0
    for (const call of batch) call.sending = true
    void this.#send(batch, session)
    return this.#queue.length > 0
  }

  /** Takes the next batch from the queue: reads, and writes of one client session. */
  #take(): Call[] {
    const batch: Call[] = []
    const rest: Call[] = []
    let bytes = 0
    let session: number | undefined
    for (const call of this.#queue) {
      if (call.settled) continue
      const full = batch.length >= batchItems || (batch.length > 0 && bytes + call.body.length > batchBytes)
      if (full || (call.type !== 'read' && !this.#enroll(call, session))) {
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
      this.#open.set(call.sequence, call)
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
        if (isFinal(error)) this.#settle(call, error)
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
    const items = batch.map(({ type, sequence, body }) => ({ type, sequence, body }))
    const [lowest] = this.#open.keys()
    const acknowledgedBelow = session === this.#session ? (lowest ?? this.#lastSequence + 1) : 0
    let answers: BatchAnswer[]
    try {
      const { attemptTimeoutMs: timeoutMs } = tuning
      const body = encodeBatch({ clientSession: session, acknowledgedBelow, items })
      const answer = finder.attempt(peer, ask(peer, methods.batch, body, { timeoutMs }))
      answers = decodeAll(await answer, batch.length)
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      this.#again(batch, error, this.#options.router.failed(peer, error))
      return
    }
    this.#settleBatch(batch, answers, peer)
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
        this.#settle(call, answer)
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
      for (const call of batch) this.#settle(call, error)
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
    call.release()
    this.#calls.delete(call)
    if (call.session === this.#session) this.#open.delete(call.sequence)
    if (outcome instanceof KeelsonError) call.done.reject(outcome)
    else call.done.resolve(outcome)
    if (this.#calls.size > 0) return
    this.#deadline?.cancel()
    this.#deadline = undefined
  }

  #armDeadline(): void {
    if (this.#deadline !== undefined) return
    const [first] = this.#calls
    if (first === undefined) return
    const { env, tuning } = this.#options
    const waitMs = Math.max(0, first.endMs - env.clock.monotonicMs())
    this.#deadline = env.timers.schedule(waitMs, () => {
      this.#deadline = undefined
      const now = env.clock.monotonicMs()
      for (const call of this.#calls) {
        if (call.endMs > now) break
        const unknown = call.unknown || (call.sending && call.type !== 'read')
        this.#settle(call, timedOut(tuning.callTimeoutMs, unknown, call.last))
      }
      this.#armDeadline()
    })
  }

  #failAll(): void {
    const { closed } = this.#options
    this.#backoff?.cancel()
    for (const call of this.#calls) {
      const unknown = call.unknown || (call.sending && call.type !== 'read')
      const { code, message } = abortError(closed)
      this.#settle(call, new KeelsonError(code, message, { outcome: unknown ? 'unknown' : 'none' }))
    }
    this.#queue = []
  }
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
