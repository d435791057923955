import { onAbort } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { NodeId } from '../../model/ids.ts'
import { decodeNumber, encodeNumber, methods } from '../protocol.ts'
import type { AskServer } from './options.ts'

/** What a {@link LeaderFinder} is made of. */
export interface LeaderFinderOptions {
  readonly env: Environment
  readonly servers: () => readonly NodeId[]
  readonly ask: AskServer
  /** Aborted when the store is closed. */
  readonly closed: AbortSignal
}

/** Somebody who waits for the leader: for the answer of one that may be gone, or for one to be known. */
interface Interest {
  /** Whom it has asked; undefined when it does not know whom to ask. */
  readonly peer: NodeId | undefined
  /** When it becomes impatient. */
  readonly dueMs: number
  /** Leads nowhere once nobody waits. */
  found: (leader: NodeId) => void
}

const nowhere = (): void => {}

/** A leader that is silent for so long may be gone. An answer takes a few round trips and syncs. */
const silentAfterMs = 150
/** How long a server that does not lead keeps the question, in case it is elected meanwhile. */
const questionMs = 500
/** Pause after a round in which no server kept the question, twice as long after each further one. */
const pauseMs = 100
const longestPauseMs = 5_000

/**
 * Finds out who leads while attempts at a leader are silent, so that its end costs a client an election and not a timeout
 * more. Every server is asked to tell when it leads itself; who does not keeps the question for a while. So there is one
 * question at a server at a time, however many calls wait, and the new leader answers in the moment of its election.
 *
 * It sends nothing again by itself. An attempt that is given up for a leader that was found has an unknown outcome, as
 * after its timeout, and only what takes effect once is repeated.
 */
export class LeaderFinder {
  readonly #options: LeaderFinderOptions
  /** Those without a peer first, then in the order in which they came: by `dueMs`. */
  readonly #seeking = new Set<Interest>()
  readonly #attempts = new Set<Interest>()
  #timer: TimerHandle | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  /** Goes on when nobody waits any more, as somebody may again: a question is asked once. */
  #round: AbortController | undefined
  #fruitless = 0
  #notBeforeMs = 0

  constructor(options: LeaderFinderOptions) {
    this.#options = options
    onAbort(options.closed, () => this.#timer?.cancel())
  }

  /** The answer to an attempt at a leader, or `OUTCOME_UNKNOWN` with `leaderNodeId` when another one says that it leads. */
  attempt(peer: NodeId, answer: Promise<Uint8Array>): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const interest: Interest = {
        peer,
        dueMs: this.#options.env.clock.monotonicMs() + silentAfterMs,
        found: (leader) => reject(silent(peer, leader)),
      }
      const release = this.#add(this.#attempts, interest)
      answer.then(
        (bytes) => {
          release()
          resolve(bytes)
        },
        (error: unknown) => {
          release()
          reject(error)
        },
      )
    })
  }

  /** Asks all servers until one leads or the function that is returned is called. */
  seek(found: (leader: NodeId) => void): () => void {
    return this.#add(this.#seeking, { peer: undefined, dueMs: Number.NEGATIVE_INFINITY, found })
  }

  #add(interests: Set<Interest>, interest: Interest): () => void {
    interests.add(interest)
    this.#arm()
    // The timer stays when nobody waits any more: somebody mostly does again before it ends, and for longer.
    return () => {
      interests.delete(interest)
      interest.found = nowhere
    }
  }

  #first(): Interest | undefined {
    for (const interest of this.#seeking) return interest
    for (const interest of this.#attempts) return interest
    return undefined
  }

  #arm(): void {
    if (this.#round !== undefined || this.#options.closed.aborted) return
    const first = this.#first()
    if (first === undefined) return
    const { clock, timers } = this.#options.env
    const atMs = Math.max(this.#notBeforeMs, first.dueMs)
    if (this.#timer !== undefined && this.#timerAtMs <= atMs) return
    this.#timer?.cancel()
    this.#timerAtMs = atMs
    const timer = timers.schedule(Math.max(0, atMs - clock.monotonicMs()), () => {
      // After a stop of this process the answers that wait go first.
      timers.defer(() => {
        if (this.#timer !== timer) return
        this.#timer = undefined
        const due = this.#first()
        if (due === undefined || due.dueMs > clock.monotonicMs()) this.#arm()
        else void this.#ask(due.peer)
      })
    })
    this.#timer = timer
  }

  /** One round of questions, to all but a server that is silent. Never rejects. */
  async #ask(silentPeer: NodeId | undefined): Promise<void> {
    const { servers, ask, closed } = this.#options
    if (closed.aborted) return
    const round = new AbortController()
    this.#round = round
    const others = servers().filter((server) => server !== silentPeer)
    let kept = false
    await Promise.all(
      others.map(async (server) => {
        try {
          const call = { timeoutMs: questionMs * 2, signal: round.signal }
          const answer = await ask(server, methods.leads, encodeNumber(questionMs), call)
          kept = true
          if (decodeNumber(answer) === 1) this.#found(server, round)
        } catch {
          // Unreachable, of an older release, or not asked any more.
        }
      }),
    )
    if (this.#round !== round) return
    this.#round = undefined
    this.#fruitless = kept ? 0 : this.#fruitless + 1
    if (!kept) this.#rest(Math.min(longestPauseMs, pauseMs * 2 ** Math.min(this.#fruitless - 1, 20)))
    this.#arm()
  }

  #found(leader: NodeId, round: AbortController): void {
    if (this.#round !== round) return
    this.#round = undefined
    this.#fruitless = 0
    this.#rest(pauseMs)
    round.abort()
    const waiting = [...this.#seeking, ...this.#attempts].filter(({ peer }) => peer !== leader)
    for (const { found } of waiting) found(leader)
    this.#arm()
  }

  #rest(ms: number): void {
    this.#notBeforeMs = this.#options.env.clock.monotonicMs() + ms
  }
}

function silent(peer: NodeId, leader: NodeId): KeelsonError {
  return new KeelsonError(
    'OUTCOME_UNKNOWN',
    `${peer} gave no answer, and ${leader} leads now; see whether the call took effect before it is made again`,
    { details: { peer, leaderNodeId: leader } },
  )
}
