import { KeelsonError } from '../core/errors.ts'
import { booleanOption, checkOptions, integerOption } from '../core/options.ts'
import type { SeededRandom } from '../core/random.ts'
import type { Resolve, TransportFactory } from '../interfaces/transport.ts'
import { checkName, type NodeId } from '../model/ids.ts'
import { Connection, type ConnectionEnd } from './connection.ts'
import type { NetworkConditions } from './network-conditions.ts'
import type { CrashKind, SimulatedProcess } from './process.ts'
import type { Scheduler } from './scheduler.ts'
import { SimulatedTransport } from './transport.ts'
import { type SimulatedTransportOptions, simulatedTransportDefaults } from './transport-options.ts'

/** How often a handshake is tried again while the link is cut. */
const retransmitMs = 100

/**
 * The `Transport` port over a simulated network. A connection behaves as one over TCP does: it keeps the order of each
 * channel, loses nothing while it stands, is held up by partitions and clogs, and breaks, with what was under way, when
 * a process crashes, when nothing passes for too long, or when {@link SimulatedTransports.breakConnections} says so.
 *
 * Addresses are `<process name>:<port>`.
 */
export class SimulatedTransports {
  /** Quality, partitions and clogs of the links. */
  readonly conditions: NetworkConditions
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom
  readonly #listeners = new Map<string, SimulatedTransport>()
  readonly #byNode = new Map<NodeId, SimulatedTransport>()
  readonly #connections = new Set<Connection>()
  readonly #watched = new Set<SimulatedProcess>()

  /** A network of its own on links that other networks may share. */
  constructor(scheduler: Scheduler, conditions: NetworkConditions, random: SeededRandom) {
    this.#scheduler = scheduler
    this.conditions = conditions
    this.#random = random
    conditions.onChange(() => this.#review())
  }

  /** Where the node that opened a transport last under this id is found: for a context's `resolve`. */
  readonly resolve: Resolve = (nodeId) => this.#byNode.get(nodeId)?.addresses ?? []

  /** An adapter for the present life of a process. @throws KeelsonError `INVALID_OPTION` */
  factory(process: SimulatedProcess, options: SimulatedTransportOptions = {}): TransportFactory {
    const number = (key: keyof SimulatedTransportOptions, min: number): ReturnType<typeof integerOption> =>
      integerOption({ min, fallback: simulatedTransportDefaults[key] as number })
    const checked = checkOptions<Required<SimulatedTransportOptions>>('SimulatedTransports', options, {
      listen: booleanOption(simulatedTransportDefaults.listen),
      port: number('port', 1),
      maximumMessageBytes: number('maximumMessageBytes', 1),
      maximumQueuedBytes: number('maximumQueuedBytes', 1),
      maximumStreams: number('maximumStreams', 1),
      streamWindowBytes: number('streamWindowBytes', 64),
      connectTimeoutMs: number('connectTimeoutMs', 1),
      pingTimeoutMs: number('pingTimeoutMs', 1),
    })
    return async (context) => {
      checkName(context.self.nodeId, "a transport's node id")
      const listens = checked.listen && context.self.role === 'node'
      const address = listens ? `${process.name}:${checked.port}` : undefined
      if (address !== undefined && this.#listeners.get(address)?.alive === true) {
        throw new KeelsonError('IO', `the address ${address} is in use; name another one`)
      }
      const transport = new SimulatedTransport(context, process, address, checked, {
        connect: (dialer, to, done) => this.#connect(dialer, to, done),
        closed: (closing) => this.#forget(closing),
      })
      if (address !== undefined) this.#listeners.set(address, transport)
      if (context.self.role === 'node') this.#byNode.set(context.self.nodeId, transport)
      const stopListening = process.onCrash((kind) => {
        stopListening()
        this.#onCrash(transport, kind)
      })
      if (!this.#watched.has(process)) {
        this.#watched.add(process)
        process.onStateChange(() => this.#review())
      }
      return transport
    }
  }

  /**
   * Breaks connections as a dying switch or an impatient firewall does: those between two processes, all of one, or all.
   *
   * @returns how many
   */
  breakConnections(one?: string, other?: string): number {
    let count = 0
    for (const connection of this.#connections) {
      const names = connection.ends.map((end) => end.host.process.name)
      if (one !== undefined && !names.includes(one)) continue
      if (other !== undefined && !names.includes(other)) continue
      this.conditions.count('connection broken')
      this.#break(connection, (end) => ({
        delayMs: this.#delayMs(end),
        keep: end.host.process.paused && this.#random.float() < 0.5,
      }))
      count++
    }
    return count
  }

  #forget(transport: SimulatedTransport): void {
    for (const address of transport.addresses) {
      if (this.#listeners.get(address) === transport) this.#listeners.delete(address)
    }
    if (this.#byNode.get(transport.self.nodeId) === transport) this.#byNode.delete(transport.self.nodeId)
  }

  /** The address stays known: nodes come back where they were. */
  #onCrash(transport: SimulatedTransport, kind: CrashKind): void {
    for (const connection of this.#connections) {
      if (!connection.ends.some((end) => end.host === transport)) continue
      this.#break(connection, (end) => {
        // A dead machine says nothing, and what it says is not heard through a cut link: pings tell.
        if (kind === 'power' || end.cut) {
          return {
            delayMs: simulatedTransportDefaults.pingTimeoutMs * (0.5 + this.#random.float()),
            keep: !end.cut,
          }
        }
        return { delayMs: this.#delayMs(end), keep: this.#random.float() < 0.5 }
      })
    }
  }

  #break(connection: Connection, ending: Parameters<Connection['break']>[0]): void {
    this.#connections.delete(connection)
    connection.break(ending)
  }

  #delayMs(end: ConnectionEnd): number {
    return this.conditions.drawDelayMs(end.other.host.process.name, end.host.process.name)
  }

  #review(): void {
    for (const connection of this.#connections) {
      if (connection.broken) this.#connections.delete(connection)
      else this.#reviewOne(connection)
    }
  }

  #reviewOne(connection: Connection): void {
    const [a, b] = connection.ends
    const hosts = [a.host, b.host] as SimulatedTransport[]
    const timeoutMs =
      Math.min(...hosts.map((host) => host.limits.pingTimeoutMs)) * (1 + 0.2 * this.#random.float())
    connection.review(timeoutMs, () => {
      this.conditions.count('connection timed out')
      this.#break(connection, (end) => ({
        delayMs: timeoutMs * 0.2 * this.#random.float(),
        // What the kernel took in for a stopped process is read when it wakes up, or lost with the reset.
        keep: end.host.process.paused && this.#random.float() < 0.5,
      }))
    })
  }

  /** Three ways: to the listener, the hello of the dialer to its process, and the hello back. */
  #connect(
    dialer: SimulatedTransport,
    address: string,
    done: (result: ConnectionEnd | KeelsonError) => void,
  ): void {
    const from = dialer.process.name
    const to = address.slice(0, Math.max(0, address.lastIndexOf(':')))
    let finished = false
    let connection: Connection | undefined
    const finish = (result: ConnectionEnd | KeelsonError): void => {
      if (finished) return
      finished = true
      timeout.cancel()
      if (KeelsonError.is(result) && connection !== undefined) {
        this.#break(connection, (end) => ({ delayMs: this.#delayMs(end), keep: false }))
      }
      done(result)
    }
    const timeout = this.#scheduler.schedule(
      dialer.limits.connectTimeoutMs,
      () => finish(new KeelsonError('UNREACHABLE', `${address} did not answer in time`)),
      dialer.process,
      dialer.process.life,
    )
    const back = (result: ConnectionEnd | KeelsonError): void => {
      this.#travel(
        to,
        from,
        dialer.process,
        () => finished,
        () => {
          if (finished) return
          if (!dialer.alive) {
            finish(new KeelsonError('CLOSED', 'the transport is closed; open another one'))
            return
          }
          if (!KeelsonError.is(result)) dialer.established(result)
          finish(result)
        },
      )
    }
    this.#travel(
      from,
      to,
      undefined,
      () => finished,
      () => {
        const target = this.#listeners.get(address)
        if (target === undefined || !target.alive) {
          back(new KeelsonError('UNREACHABLE', `nobody listens at ${address}`))
          return
        }
        const accept = (): void => {
          if (finished || !target.alive) return
          const refusal = target.refusal(dialer)
          if (refusal !== undefined) {
            back(refusal)
            return
          }
          connection = new Connection(dialer, target, {
            scheduler: this.#scheduler,
            conditions: this.conditions,
          })
          this.#connections.add(connection)
          const [mine, theirs] = connection.ends
          target.established(theirs)
          this.#reviewOne(connection)
          back(mine)
        }
        this.#scheduler.schedule(0, accept, target.process)
      },
    )
  }

  /** One way through the network; a cut link is tried again for as long as anybody waits. */
  #travel(
    from: string,
    to: string,
    owner: SimulatedProcess | undefined,
    over: () => boolean,
    arrive: () => void,
  ): void {
    if (over()) return
    if (this.conditions.isBlocked(from, to) || this.conditions.isClogged(from, to)) {
      this.#scheduler.schedule(retransmitMs, () => this.#travel(from, to, owner, over, arrive))
      return
    }
    this.#scheduler.schedule(this.conditions.drawDelayMs(from, to), arrive, owner)
  }
}
