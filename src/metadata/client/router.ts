import {
  abortable,
  type CallOptions,
  deferred,
  joinSignals,
  sleep,
  throwIfAborted,
} from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { type ErrorCode, KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { NodeId } from '../../model/ids.ts'
import type { LeaderFinder } from './leader-finder.ts'
import type { AskServer, ClientTuning } from './options.ts'

/** What a {@link Router} is made of. */
export interface RouterOptions {
  readonly env: Environment
  readonly tuning: ClientTuning
  readonly servers: () => readonly NodeId[]
  /** The server for what any server can answer, as long as it can. Default: one at random. */
  readonly sticky: NodeId | undefined
  readonly ask: AskServer
  readonly finder: LeaderFinder
  /** Aborted when the store is closed, with its error. */
  readonly closed: AbortSignal
}

/** Errors that another server or another attempt would not mend. */
const final: readonly ErrorCode[] = [
  'INVALID_ARGUMENT',
  'LIMIT_EXCEEDED',
  'COMPACTED',
  'FUTURE_REVISION',
  'EPOCH_ENDED',
  'UNAUTHORIZED',
  'PROTOCOL_VERSION',
  'MALFORMED',
]

/** True for an error that a caller gets as it is. */
export function isFinal(error: KeelsonError): boolean {
  return final.includes(error.code)
}

/**
 * A final answer for the caller. It speaks of the attempt that it answers, not of those before it, of which one may have taken
 * effect, or may still do so: `unknown` says whether there is one.
 */
export function finalAnswer(error: KeelsonError, unknown: boolean): KeelsonError {
  if (!unknown || error.outcome === 'unknown') return error
  const { code, retryable, details } = error
  return new KeelsonError(code, `${error.message}; an earlier attempt may have taken effect`, {
    retryable,
    outcome: 'unknown',
    details,
    cause: error,
  })
}

/** Every call earns a part of a retry; a retry without one waits for as long as any. */
const earnedPerCall = 0.2
const maximumBudget = 100
/** So many hints in a row are followed at once: servers that point at each other must not make a loop. */
const maximumHints = 3

/**
 * Finds the leader, follows it, and spaces attempts: full jitter over a growing bound, and a budget for retries, so that
 * a store in trouble does not get more load than one that is well.
 */
export class Router {
  readonly #options: RouterOptions
  #leader: NodeId | undefined
  /** Where to look next. */
  #turn: number
  #sticky: NodeId | undefined
  #budget = maximumBudget / 10
  /** Hints followed since somebody answered as the leader. */
  #hints = 0

  constructor(options: RouterOptions) {
    this.#options = options
    this.#sticky = options.sticky
    this.#turn = options.env.random.integer(1 << 16)
  }

  /** Whom to ask what only the leader answers. */
  leader(): NodeId | undefined {
    return this.#leader ?? this.#any()
  }

  /** Whom to ask what every server answers. */
  nearest(): NodeId | undefined {
    const servers = this.#options.servers()
    if (this.#sticky === undefined || !servers.includes(this.#sticky)) this.#sticky = this.#any()
    return this.#sticky
  }

  /** A server answered as the leader. */
  leads(peer: NodeId): void {
    this.#leader = peer
    this.#hints = 0
    this.#budget = Math.min(maximumBudget, this.#budget + earnedPerCall)
  }

  /** A server says that it leads. */
  found(peer: NodeId): void {
    this.#leader = peer
    this.#hints = 0
  }

  /** Nobody is known to lead. */
  get lost(): boolean {
    return this.#leader === undefined
  }

  /**
   * An attempt failed.
   *
   * @returns true when the answer named another leader, whom to ask at once
   */
  failed(peer: NodeId, error: KeelsonError): boolean {
    const hint = error.code === 'NOT_LEADER' ? error.details['leaderNodeId'] : undefined
    if (typeof hint === 'string' && hint !== peer) {
      const news = this.#leader !== hint && this.#hints < maximumHints
      this.#leader = hint
      this.#hints++
      return news
    }
    const found = error.code === 'OUTCOME_UNKNOWN' ? error.details['leaderNodeId'] : undefined
    if (typeof found === 'string' && found !== peer) {
      this.found(found)
      return true
    }
    if (error.code === 'OVERLOADED') return false
    if (this.#leader === peer) this.#leader = undefined
    if (this.#sticky === peer && error.code !== 'NOT_LEADER') this.#sticky = undefined
    this.#turn++
    return false
  }

  /** How long to wait before the next attempt. `failures` counts from 0. */
  backoffMs(failures: number): number {
    const { env, tuning } = this.#options
    if (this.#budget < 1) return tuning.retryLimitMs * (0.5 + env.random.float() / 2)
    this.#budget--
    return (
      env.random.float() * Math.min(tuning.retryLimitMs, tuning.retryBaseMs * 2 ** Math.min(failures, 20))
    )
  }

  /**
   * Asks the leader, or the nearest server, until there is an answer.
   *
   * @throws KeelsonError `TIMEOUT`; with `write` `OUTCOME_UNKNOWN` when an attempt may have taken effect; `ABORTED`,
   *   `CLOSED`, and final answers, which have the outcome `unknown` where an earlier attempt may have taken effect
   */
  async call(
    method: string,
    body: Uint8Array,
    options: CallOptions & { readonly to: 'leader' | 'nearest'; readonly write: boolean },
  ): Promise<Uint8Array> {
    const { env, tuning, closed } = this.#options
    const { to, write } = options
    const endMs = env.clock.monotonicMs() + tuning.callTimeoutMs
    const { signal, release } = joinSignals(options.signal, closed)
    try {
      return await this.#attempts(method, body, { to, write, signal, endMs })
    } finally {
      release()
    }
  }

  async #attempts(
    method: string,
    body: Uint8Array,
    options: {
      readonly to: 'leader' | 'nearest'
      readonly write: boolean
      readonly signal: AbortSignal
      readonly endMs: number
    },
  ): Promise<Uint8Array> {
    const { env, tuning, ask } = this.#options
    const { to, write, signal, endMs } = options
    let unknown = false
    let last: KeelsonError | undefined
    for (let failures = 0; ; ) {
      throwIfAborted(signal)
      const leftMs = endMs - env.clock.monotonicMs()
      if (leftMs <= 0) throw timedOut(tuning.callTimeoutMs, unknown, last)
      const peer = to === 'leader' ? this.leader() : this.nearest()
      if (peer !== undefined) {
        try {
          const timeoutMs = Math.max(1, Math.min(tuning.attemptTimeoutMs, Math.ceil(leftMs)))
          const asked = ask(peer, method, body, { timeoutMs, signal })
          const attempt = to === 'leader' ? this.#options.finder.attempt(peer, asked) : asked
          const answer = await abortable(attempt, signal, 'unknown')
          if (to === 'leader') this.leads(peer)
          return answer
        } catch (thrown) {
          const error = toKeelsonError(thrown)
          unknown ||= write && error.outcome === 'unknown'
          if (signal.aborted) throw ended(signal, error, unknown)
          if (isFinal(error)) throw finalAnswer(error, unknown)
          last = error
          if (this.failed(peer, error)) continue
        }
      }
      await this.#pause(Math.min(this.backoffMs(failures++), leftMs), to, signal)
    }
  }

  /** Waits, but for a leader that is found not longer. */
  async #pause(delayMs: number, to: 'leader' | 'nearest', signal: AbortSignal): Promise<void> {
    const { env, finder } = this.#options
    if (to === 'nearest' || !this.lost) {
      await sleep(env.timers, delayMs, signal)
      return
    }
    const found = deferred<void>()
    const stop = finder.seek((leader) => {
      this.found(leader)
      found.resolve()
    })
    const timer = env.timers.schedule(delayMs, () => found.resolve())
    try {
      await abortable(found.promise, signal)
    } finally {
      timer.cancel()
      stop()
    }
  }

  #any(): NodeId | undefined {
    const servers = this.#options.servers()
    return servers.length === 0 ? undefined : servers[this.#turn % servers.length]
  }
}

/** The error of a call whose time is over. */
export function timedOut(timeoutMs: number, unknown: boolean, last: KeelsonError | undefined): KeelsonError {
  const why = last === undefined ? 'no server is known' : last.message
  const message = `the metadata store gave no answer within ${timeoutMs} ms; the last reason: ${why}`
  return new KeelsonError(unknown ? 'OUTCOME_UNKNOWN' : 'TIMEOUT', message, { cause: last })
}

function ended(signal: AbortSignal, error: KeelsonError, unknown: boolean): KeelsonError {
  if (KeelsonError.is(signal.reason)) {
    const { code, message } = signal.reason
    return new KeelsonError(code, message, { outcome: unknown ? 'unknown' : 'none' })
  }
  return new KeelsonError('ABORTED', 'the call was aborted by its signal', {
    cause: error,
    outcome: unknown ? 'unknown' : 'none',
  })
}
