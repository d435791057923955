import { deadline } from '../../../src/core/async.ts'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { pick, type SeededRandom } from '../../../src/core/random.ts'
import type { ClusterNode } from '../support/host-cluster.ts'
import type { HostWorld } from './world.ts'

const attemptMs = 700

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
  target(): ClusterNode | undefined {
    if (!this.world.settings.forwards) return this.world.cluster.serving()
    const running = [...this.world.cluster.nodes.values()].filter(
      (node) => node.process.state === 'running' && node.host.groups().has(1),
    )
    return running.length === 0 ? undefined : pick(this.random, running)
  }

  /** One attempt. A call into a process that dies is never answered. */
  async attempt<T>(act: (node: ClusterNode, signal: AbortSignal) => Promise<T>): Promise<T | KeelsonError> {
    const node = this.target()
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
  sequence = 0
  reads = 0

  async run(working: () => boolean): Promise<void> {
    const { world, counter } = this
    const forward = world.settings.forwards
    this.#session = await this.#insist(async (node, signal) => node.group().openSession({ signal, forward }))
    while (working()) {
      await world.cluster.sleep(5 + this.random.float() * 15)
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
      if (
        KeelsonError.hasCode(outcome, 'SESSION_UNKNOWN', 'INVALID_ARGUMENT', 'MALFORMED', 'LIMIT_EXCEEDED')
      ) {
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
