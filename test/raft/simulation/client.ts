import type { Environment } from '../../../src/core/environment.ts'
import { chance, pick } from '../../../src/core/random.ts'
import type { Operation } from '../../../src/simulation/linearizability.ts'
import type { CounterInput, MapInput, MapOutput } from '../../../src/simulation/sequential-models.ts'
import type { Command, Outcome } from './machine.ts'
import type { ClientReply, ClientRequest } from './wire.ts'
import type { World } from './world.ts'

/** What a client saw. */
export interface History {
  readonly map: Operation<MapInput, MapOutput>[]
  readonly counters: Operation<CounterInput, number>[]
}

type Call =
  | { readonly type: 'register' }
  | { readonly type: 'read'; readonly key: string }
  | { readonly type: 'command'; readonly command: Command }

type Unsent<T> = T extends unknown ? Omit<T, 'attempt'> : never

/**
 * One caller, one call at a time: to whom it believes leads, again elsewhere when it is refused or hears nothing. With a
 * session a repeated command takes effect once; a blind client has none, so it gives up and remembers that it does not
 * know.
 */
export class Client {
  readonly name: string
  readonly blind: boolean
  readonly #world: World
  readonly #env: Environment
  #target: string
  #attempt = 0
  #session = 0
  #sequence = 0
  #call: Call | undefined
  #calledAt = 0
  /** When this attempt began: what a read may not be older than. */
  #attemptedAt = 0
  #timer: { cancel(): void } | undefined
  #done: (() => void) | undefined
  #calls = 0
  #disappointed = false
  #keyPrefix = 'k'
  stopped = false
  completed = 0
  unknown = 0

  constructor(world: World, name: string, blind: boolean) {
    this.#world = world
    this.name = name
    this.blind = blind
    const process = world.simulation.process(name)
    this.#env = process.environment
    this.#target = pick(this.#env.random, world.names)
    world.network.attach(process, (_from, packet) => {
      if (packet.type === 'reply') this.#answered(packet.reply)
    })
  }

  get idle(): boolean {
    return this.#call === undefined
  }

  start(): void {
    this.#think()
  }

  /** Goes on with keys that nobody has written yet, and without a session: what it knew is gone. */
  startAnew(keyPrefix: string): void {
    this.#keyPrefix = keyPrefix
    this.#session = 0
    this.#sequence = 0
    this.stopped = false
    this.#think()
  }

  /** Makes one call outside of the usual turn, for the end of a run. */
  finish(call: 'write' | 'read', number: number, done: () => void): void {
    const key = `${this.#keyPrefix}${number}`
    this.#begin(
      call === 'read'
        ? { type: 'read', key }
        : { type: 'command', command: { type: 'put', key, value: this.#freshValue() } },
      done,
    )
  }

  #think(): void {
    // A blind client that got no answer waits: each unknown outcome doubles the work of the checker.
    const meanMs = this.#disappointed ? 1_000 : this.#world.settings.thinkMs + this.#world.idleMs()
    this.#disappointed = false
    this.#env.timers.schedule(-Math.log(1 - this.#env.random.float()) * meanMs, () => {
      if (this.stopped || this.#call !== undefined) return
      this.#begin(this.#drawCall(), () => this.#think())
    })
  }

  #drawCall(): Call {
    if (this.#session === 0 && !this.blind) return { type: 'register' }
    const { random } = this.#env
    const key = `${this.#keyPrefix}${random.integer(this.#world.settings.keys)}`
    const draw = random.float()
    if (draw < 0.4) return { type: 'read', key }
    const value = this.#freshValue()
    if (draw < 0.65) return { type: 'command', command: { type: 'put', key, value } }
    if (draw < 0.8) {
      const expected = this.#world.lastWritten.get(key)
      return { type: 'command', command: { type: 'cas', key, expected, value } }
    }
    return { type: 'command', command: { type: 'add', key, amount: 1 + random.integer(3) } }
  }

  /** No value is written twice, so that a read tells which write it saw. */
  #freshValue(): string {
    return `${this.name}.${++this.#calls}`
  }

  #begin(call: Call, done: () => void): void {
    this.#call = call
    this.#done = done
    this.#calledAt = this.#world.tick()
    if (call.type === 'command') {
      this.#sequence++
      if (call.command.type !== 'add') this.#world.lastWritten.set(call.command.key, call.command.value)
    }
    this.#try()
  }

  #try(): void {
    const call = this.#call
    if (call === undefined) return
    const attempt = ++this.#attempt
    this.#attemptedAt = this.#world.tick()
    const { followerReads } = this.#world.settings
    const anywhere = call.type === 'read' && chance(this.#env.random, followerReads * 0.5)
    const target = anywhere ? pick(this.#env.random, this.#world.names) : this.#target
    const request = this.#requestOf(call)
    this.#world.network.send(this.name, target, { type: 'request', request: { ...request, attempt } })
    this.#timer?.cancel()
    this.#timer = this.#env.timers.schedule(this.#world.settings.attemptMs, () => {
      if (attempt !== this.#attempt) return
      this.#target = pick(this.#env.random, this.#world.names)
      if (this.blind && call.type === 'command') this.#finishUnknown(call.command)
      else this.#try()
    })
  }

  #requestOf(call: Call): Unsent<ClientRequest> {
    switch (call.type) {
      case 'register':
        return { type: 'register', maximumSessions: this.#world.settings.maximumSessions }
      case 'read':
        return { type: 'read', key: call.key }
      case 'command':
        return {
          type: 'command',
          command: call.command,
          session: this.blind ? 0 : this.#session,
          sequence: this.#sequence,
          acknowledgedBelow: this.#sequence,
        }
    }
  }

  #answered(reply: ClientReply): void {
    const call = this.#call
    if (call === undefined || reply.attempt !== this.#attempt) return
    if ('refused' in reply) {
      // A refusal of this attempt says nothing of those before it; the command id does.
      const { leader } = reply
      const names = this.#world.names
      this.#target =
        leader === undefined || chance(this.#env.random, 0.1) ? pick(this.#env.random, names) : leader
      this.#timer?.cancel()
      const attempt = this.#attempt
      this.#timer = this.#env.timers.schedule(2 + this.#env.random.float() * 20, () => {
        if (attempt === this.#attempt) this.#try()
      })
      return
    }
    if ('read' in reply) {
      if (call.type === 'read') this.#finishRead(call.key, reply.value)
      return
    }
    if (call.type === 'register') {
      if (reply.outcome.type === 'result') {
        this.#session = Number(reply.outcome.value)
        this.#sequence = 0
      }
      this.#end()
    } else if (call.type === 'command') this.#finishCommand(call.command, reply.outcome)
  }

  #finishRead(key: string, value: string | undefined): void {
    this.#world.history.map.push({
      client: this.name,
      input: { type: 'get', key },
      calledAt: this.#attemptedAt,
      returnedAt: this.#world.tick(),
      ...(value === undefined ? {} : { output: value }),
    })
    this.#end()
  }

  #finishCommand(command: Command, outcome: Outcome): void {
    if (outcome.type !== 'result') {
      this.#world.count(`client: ${outcome.type}`)
      // The session is gone, and with it the knowledge whether an earlier attempt took effect.
      this.#session = 0
      this.#finishUnknown(command)
      return
    }
    this.#record(command, outcome.value)
    this.#end()
  }

  #finishUnknown(command: Command): void {
    this.unknown++
    this.#disappointed = true
    this.#record(command, undefined)
    this.#end()
  }

  /** At the end of a run: what is still open is unknown. */
  abandon(): void {
    if (this.#call?.type === 'command') this.#record(this.#call.command, undefined)
    this.#call = undefined
    this.#done = undefined
    this.#attempt++
    this.#timer?.cancel()
  }

  #record(command: Command, result: string | undefined): void {
    const known = result !== undefined
    const times = known
      ? { calledAt: this.#calledAt, returnedAt: this.#world.tick() }
      : { calledAt: this.#calledAt }
    const base = { client: this.name, ...times }
    const { key } = command
    switch (command.type) {
      case 'put':
        this.#world.history.map.push({ ...base, input: { type: 'put', key, value: command.value } })
        return
      case 'cas': {
        const { expected, value } = command
        const output = known ? { output: result === 'true' } : {}
        this.#world.history.map.push({ ...base, input: { type: 'cas', key, expected, value }, ...output })
        return
      }
      case 'add': {
        const output = known ? { output: Number(result) } : {}
        this.#world.history.counters.push({
          ...base,
          input: { name: key, amount: command.amount },
          ...output,
        })
      }
    }
  }

  #end(): void {
    this.completed++
    this.#timer?.cancel()
    this.#call = undefined
    this.#attempt++
    const done = this.#done
    this.#done = undefined
    done?.()
  }
}
