import { deadline } from '../../../src/core/async.ts'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import type { ClusterNode } from '../support/host-cluster.ts'
import type { HostWorld } from './world.ts'

const attemptMs = 700
/** Errors that no other attempt mends. */
const lasting = ['SESSION_UNKNOWN', 'INVALID_ARGUMENT', 'MALFORMED', 'LIMIT_EXCEEDED']

abstract class Client {
  readonly world: HostWorld
  readonly counter: string
  readonly random: SeededRandom

  constructor(world: HostWorld, counter: string) {
    this.world = world
    this.counter = counter
    this.random = world.cluster.simulation.random(`client ${counter}`)
  }

  /** Whom to ask: whoever leads, or, where proposals are forwarded, anybody. */
  target(leads = false): ClusterNode | undefined {
    if (leads || !this.world.settings.forwards) return this.world.cluster.serving()
    const running = [...this.world.cluster.nodes.values()].filter(
      (node) => node.process.state === 'running' && node.host.groups().has(1),
    )
    return running.length === 0 ? undefined : pick(this.random, running)
  }

  /** One attempt. A call into a process that dies is never answered. */
  async attempt<T>(
    act: (node: ClusterNode, signal: AbortSignal) => Promise<T>,
    leads = false,
  ): Promise<T | KeelsonError> {
    const node = this.target(leads)
    if (node === undefined) return new KeelsonError('NOT_LEADER', 'nobody leads')
    const late = (): KeelsonError => new KeelsonError('OUTCOME_UNKNOWN', 'nobody answers')
    const limit = deadline(this.world.cluster.observer.timers, attemptMs, late)
    try {
      return await act(node, limit.signal)
    } catch (error) {
      if (!KeelsonError.is(error)) throw error
      return error
    } finally {
      limit.release()
    }
  }
}

/** Increments a counter of its own, each time with an id, and insists until it is told the result. */
export class SessionClient extends Client {
  #session = 0
  /** Which command had which result, of those that were proposed together. */
  readonly #results = new Map<number, number>()
  sequence = 0
  reads = 0

  async run(working: () => boolean): Promise<void> {
    const { world, counter } = this
    const forward = world.settings.forwards
    this.#session = await this.#insist(async (node, signal) => node.group().openSession({ signal, forward }))
    while (working()) {
      await world.cluster.sleep(5 + this.random.float() * 15)
      if (world.settings.batches > 0 && chance(this.random, world.settings.batches)) {
        await this.#batch(2 + this.random.integer(5))
        continue
      }
      const commandId = { session: this.#session, sequence: ++this.sequence }
      const result = await this.#insist(async (node, signal) => {
        const token = node.group().token()
        const options = { commandId, acknowledgedBelow: commandId.sequence, signal, forward }
        const call = token === undefined ? options : { ...options, token }
        return text(await node.group().propose(utf8(`${counter}+1`), call))
      })
      if (result !== String(this.sequence)) {
        world.broken('exactly once', `${counter}: ${result} by command ${this.sequence}`)
      }
      if (this.sequence % 4 !== 0) continue
      const seen = await this.#read()
      if (seen === undefined) continue
      this.reads++
      if (seen !== this.sequence) {
        world.broken('linearizable reads', `${counter}: read ${seen} after ${this.sequence}`)
      }
    }
  }

  /**
   * Several increments together. What is not known to be done is proposed again, with some more and without some that are
   * known by then: other sets of commands than before, of which some may have taken effect.
   */
  async #batch(count: number): Promise<void> {
    const { world, counter } = this
    const first = this.sequence + 1
    this.sequence += count
    const open = new Set(Array.from({ length: count }, (_, i) => first + i))
    while (open.size > 0) {
      const asked = [...open].filter(() => chance(this.random, 0.8))
      const outcomes = await this.attempt(async (node, signal) => {
        const commands = asked.map((sequence) => ({ sequence, data: utf8(`${counter}+1`) }))
        const call = { session: this.#session, acknowledgedBelow: Math.min(...open), signal }
        const token = node.group().token()
        return node.group().proposeBatch(commands, token === undefined ? call : { ...call, token })
      }, true)
      if (!KeelsonError.is(outcomes)) {
        world.count(`batches of ${asked.length > 1 ? 'several' : 'one'}`)
        outcomes.forEach((outcome, i) => this.#took(asked[i] as number, outcome, open, first, count))
      }
      if (open.size > 0) await world.cluster.sleep(5 + this.random.float() * 20)
    }
  }

  /** Whatever the order in which they took effect, each result is that of one of them. */
  #took(
    sequence: number,
    outcome: Uint8Array | KeelsonError,
    open: Set<number>,
    first: number,
    count: number,
  ): void {
    const { world, counter } = this
    if (KeelsonError.is(outcome)) {
      if (lasting.includes(outcome.code))
        world.broken('calls', `${counter}: ${outcome.code} ${outcome.message}`)
      return
    }
    open.delete(sequence)
    const value = Number(text(outcome))
    const twice = this.#results.get(value)
    if (value < first || value >= first + count || (twice !== undefined && twice !== sequence))
      world.broken(
        'exactly once',
        `${counter}: ${value} by command ${sequence} of ${first} to ${first + count - 1}`,
      )
    this.#results.set(value, sequence)
  }

  /** Whoever leads is asked: a read is not forwarded. */
  async #read(): Promise<number | undefined> {
    const node = this.world.cluster.serving()
    if (node === undefined) return undefined
    const limit = deadline(
      this.world.cluster.observer.timers,
      attemptMs,
      () => new KeelsonError('TIMEOUT', 'late'),
    )
    try {
      await node.group().read({ signal: limit.signal })
      return node.value(this.counter) ?? 0
    } catch (error) {
      if (!KeelsonError.is(error)) throw error
      return undefined
    } finally {
      limit.release()
    }
  }

  async #insist<T>(act: (node: ClusterNode, signal: AbortSignal) => Promise<T>): Promise<T> {
    for (;;) {
      const outcome = await this.attempt(act)
      if (!KeelsonError.is(outcome)) return outcome
      if (lasting.includes(outcome.code)) {
        this.world.broken('calls', `${this.counter}: ${outcome.code} ${outcome.message}`)
      }
      await this.world.cluster.sleep(5 + this.random.float() * 20)
    }
  }
}

/** Increments a counter without ids: what is not known to be done or not done is done at most once. */
export class BlindClient extends Client {
  done = 0
  unknown = 0

  async run(working: () => boolean): Promise<void> {
    const forward = this.world.settings.forwards
    while (working()) {
      await this.world.cluster.sleep(5 + this.random.float() * 30)
      const outcome = await this.attempt(async (node, signal) =>
        node.group().propose(utf8(`${this.counter}+1`), { signal, forward }),
      )
      if (!KeelsonError.is(outcome)) this.done++
      else if (outcome.outcome === 'unknown') this.unknown++
    }
  }
}
