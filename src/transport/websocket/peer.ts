import { abortable, type CallOptions, type Deferred, deferred } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { between } from '../../core/random.ts'
import type { PeerIdentity, TrafficClass } from '../../interfaces/transport.ts'
import type { FoundingId, NodeId } from '../../model/ids.ts'
import type { Caller } from './acceptor.ts'
import type { Dial, Dialled } from './dial.ts'
import type { Welcome } from './handshake.ts'
import { Lane } from './lane.ts'
import type { Link } from './link.ts'
import type { PeerHost } from './peer-host.ts'

/** Addresses tried in one round. */
const maximumAddresses = 8

/** Share of the time for a handshake for which a caller is held. */
const holdShare = 0.2

/** What is refused today is refused tomorrow, too: it is tried again at the slowest pace. */
const lasting = [
  'FOREIGN_CLUSTER',
  'FOREIGN_NODE',
  'PROTOCOL_VERSION',
  'UNAUTHORIZED',
  'INVALID_OPTION',
] as const

/**
 * All that this transport knows of one peer: its queues, its link or the way to one. Exactly one link stands at a time,
 * whoever dialled: see {@link Peer.onCaller}.
 */
export class Peer {
  readonly nodeId: NodeId
  readonly #host: PeerHost
  readonly #lanes: Readonly<Record<TrafficClass, Lane>>
  #link: Link | undefined
  #dial: Dial | undefined
  /** A caller that waits for the outcome of this node's own dial, and for how long it does. */
  #held: Caller | undefined
  #holdTimer: TimerHandle | undefined
  #pause: TimerHandle | undefined
  #failures = 0
  /** Something was to be sent during a pause: dial when it is over. */
  #wanted = false
  /** One link is being put in the place of another: what listeners send meanwhile waits for the new one. */
  #switching = false
  /** Those who wait for a link. */
  #waiting: Deferred<Link>[] = []

  constructor(nodeId: NodeId, host: PeerHost) {
    this.nodeId = nodeId
    this.#host = host
    this.#lanes = { control: new Lane(host.lanes), bulk: new Lane(host.lanes) }
  }

  get link(): Link | undefined {
    return this.#link
  }

  get lanes(): Readonly<Record<TrafficClass, Lane>> {
    return this.#lanes
  }

  /** Nothing would be forgotten with this object. */
  get idle(): boolean {
    const busy = this.#link ?? this.#dial ?? this.#pause
    return busy === undefined && !this.#switching
  }

  send(traffic: TrafficClass, protocol: string, bytes: Uint8Array): boolean {
    if (this.#link === undefined && this.#dial === undefined && !this.#connect()) return false
    return this.#lanes[traffic].enqueue(protocol, bytes)
  }

  /** The link, as soon as it stands. @throws KeelsonError `UNREACHABLE`, `ABORTED` */
  async linked(options: CallOptions): Promise<Link> {
    if (this.#link !== undefined) return this.#link
    if (this.#dial === undefined && !this.#connect()) {
      throw new KeelsonError(
        'UNREACHABLE',
        `${this.nodeId} cannot be reached now; see that it runs, and that resolve gives its address`,
      )
    }
    const waiter = deferred<Link>()
    this.#waiting.push(waiter)
    return abortable(waiter.promise, options.signal)
  }

  /**
   * Somebody who was authenticated as this peer wants in.
   *
   * Both sides may dial at the same time. Then the dial of the node with the lower id wins: that node holds the other's
   * call until its own dial has come to an end, the other one drops its own dial and lets the first one in. A dial that has
   * not reached its peer yet gives way in any case, since it may never do so, and one that is not answered soon does, too:
   * what answers at an address need not be the peer.
   *
   * A call from a peer that is connected means that the connection is gone as the peer sees it, or that its process was
   * started again, unless the call was made before: then the peer has given it up, and so it is refused.
   */
  onCaller(caller: Caller): void {
    const { hello } = caller
    const link = this.#link
    if (link !== undefined) {
      const same = link.parts.processId === hello.processId
      if (same && hello.attempt <= link.parts.peerAttempt) {
        caller.refuse(new KeelsonError('CONFLICT', 'a later connection of yours stands already'))
      } else if (same && hello.asking) {
        this.#host.welcome(caller, { connected: true }, (socket) => socket.close(1000, 'connected already'))
      } else this.#accept(caller)
      return
    }
    if (this.#dial?.greeted === true && this.#host.self.nodeId < this.nodeId) {
      this.#hold(caller)
      return
    }
    this.#accept(caller)
  }

  /**
   * A dial that the host made by address has reached this peer. A dial of the peer's own that is under way goes on: the
   * other side may have taken it for the later one.
   */
  adopt(dialled: Dialled, dial: Dial, options: CallOptions): PeerIdentity | Promise<PeerIdentity> {
    if (this.#dial === undefined) return this.#establish(dialled, dial).peer
    dialled.socket.terminate()
    return this.linked(options).then((link) => link.peer)
  }

  close(reason: string): void {
    this.#pause?.cancel()
    this.#pause = undefined
    this.#dial?.abort()
    this.#takeHeld()?.refuse(new KeelsonError('UNREACHABLE', reason))
    const hadDial = this.#dial !== undefined
    this.#dial = undefined
    if (this.#link !== undefined) {
      this.#lanes.control.flush()
      this.#lanes.bulk.flush()
      this.#link.close(reason, { code: 1001 })
    } else if (hadDial) this.#drop('none', new KeelsonError('CLOSED', reason))
  }

  /** False when there is no way to try now. */
  #connect(): boolean {
    if (this.#switching) return true
    if (this.#pause !== undefined) {
      this.#wanted = true
      return false
    }
    const addresses = this.#host.addressesOf(this.nodeId).slice(0, maximumAddresses)
    if (addresses.length === 0) return false
    const problem = this.#dialNext(addresses)
    if (problem === undefined) return true
    this.#failed(problem)
    return false
  }

  /** The problem, when none of the addresses can even be tried. */
  #dialNext(addresses: readonly string[]): KeelsonError | undefined {
    let problem: KeelsonError | undefined
    for (let i = 0; i < addresses.length; i++) {
      const rest = addresses.slice(i + 1)
      try {
        const dial: Dial = this.#host.dial(addresses[i] as string, { wanted: this.nodeId }, (result) =>
          this.#onDialled(dial, result, rest),
        )
        this.#dial = dial
        return undefined
      } catch (error) {
        problem = toKeelsonError(error)
      }
    }
    return problem
  }

  #onDialled(dial: Dial, result: Dialled | KeelsonError, rest: readonly string[]): void {
    if (this.#dial !== dial) return
    this.#dial = undefined
    if (!(result instanceof KeelsonError)) {
      const problem = this.#host.check(result.welcome, result.certificate, this.nodeId)
      if (problem === undefined) {
        this.#establish(result, dial)
        return
      }
      result.socket.terminate()
      this.#failed(problem)
      return
    }
    const held = this.#takeHeld()
    if (held !== undefined) this.#accept(held)
    else if (rest.length === 0) this.#failed(result)
    else {
      const problem = this.#dialNext(rest)
      if (problem !== undefined) this.#failed(problem)
    }
  }

  /** A round of addresses has led nowhere. */
  #failed(error: KeelsonError): void {
    const held = this.#takeHeld()
    if (held !== undefined) {
      this.#accept(held)
      return
    }
    const { limits, env } = this.#host.lanes
    const { minimumReconnectDelayMs, maximumReconnectDelayMs } = limits
    const hopeless = KeelsonError.hasCode(error, ...lasting)
    const level = hopeless ? 'warn' : 'debug'
    env.logger[level]({ peer: this.nodeId, error, failures: this.#failures + 1 }, 'a peer cannot be reached')
    const delay = hopeless
      ? maximumReconnectDelayMs
      : Math.min(maximumReconnectDelayMs, minimumReconnectDelayMs * 2 ** Math.min(this.#failures, 30))
    this.#failures++
    this.#wanted = false
    this.#pause?.cancel()
    this.#pause = env.timers.schedule(between(env.random, delay / 2, delay), () => this.#afterPause())
    this.#drop('none', error)
  }

  #afterPause(): void {
    this.#pause = undefined
    if (this.#wanted && this.#link === undefined && this.#dial === undefined) this.#connect()
    this.#wanted = false
    this.#host.tidy(this.nodeId)
  }

  #hold(caller: Caller): void {
    this.#takeHeld()?.refuse(new KeelsonError('CONFLICT', 'a later call of yours waits already'))
    this.#held = caller
    const { env, limits } = this.#host.lanes
    this.#holdTimer = env.timers.schedule(limits.handshakeTimeoutMs * holdShare, () => {
      const held = this.#takeHeld()
      if (held !== undefined) this.#accept(held)
    })
  }

  #takeHeld(): Caller | undefined {
    const held = this.#held
    this.#held = undefined
    this.#holdTimer?.cancel()
    return held?.waiting === true ? held : undefined
  }

  #accept(caller: Caller): void {
    const token = this.#host.newToken()
    this.#host.welcome(caller, { token }, (socket) => {
      const { hello } = caller
      this.#switch('replaced by a later connection of the peer')
      const link = this.#stand(hello.identity, {
        founding: hello.founding,
        processId: hello.processId,
        peerMaximumFrameBytes: hello.maximumFrameBytes,
        dialled: false,
        attempt: hello.attempt,
        peerAttempt: hello.attempt,
        token,
      })
      link.attach('control', socket)
      link.expectBulk()
      this.#announce(link)
    })
    this.#host.tidy(this.nodeId)
  }

  /** The link of a dial that was answered, or the one that stands and is a later one. */
  #establish({ socket, welcome }: Dialled, dial: Dial): Link {
    const standing = this.#link
    if (standing !== undefined && this.#later(standing, welcome, dial)) {
      socket.terminate()
      return standing
    }
    this.#switch('replaced by a later connection')
    this.#takeHeld()?.refuse(new KeelsonError('CONFLICT', "the other side's connection stands already"))
    const link = this.#stand(welcome.identity, {
      founding: welcome.founding,
      processId: welcome.processId,
      peerMaximumFrameBytes: welcome.maximumFrameBytes,
      dialled: true,
      attempt: dial.hello.attempt,
      peerAttempt: welcome.attempt,
      token: welcome.token,
    })
    link.attach('control', socket)
    this.#host.dialBulk(link, dial.address)
    this.#announce(link)
    return link
  }

  /**
   * True when the standing link and not the answered dial is to stay, as the peer sees it, too. Of two dials of this node
   * the later one stays. If the standing link is a dial of the peer that it had settled or given up when it answered, it
   * has taken this dial in its place; otherwise the two have crossed each other, and the dial of the lower id stays.
   */
  #later(standing: Link, welcome: Welcome, dial: Dial): boolean {
    const { processId, dialled, attempt } = standing.parts
    if (processId !== welcome.processId) return false
    if (dialled) return attempt > dial.hello.attempt
    return attempt > welcome.attempt && this.#host.self.nodeId > this.nodeId
  }

  /** Clears the way for a new link. */
  #switch(reason: string): void {
    this.#dial?.abort()
    this.#dial = undefined
    this.#switching = true
    this.#link?.close(reason)
    this.#switching = false
  }

  #stand(
    identity: PeerIdentity,
    parts: {
      readonly founding: FoundingId | undefined
      readonly processId: number
      readonly peerMaximumFrameBytes: number
      readonly dialled: boolean
      readonly attempt: number
      readonly peerAttempt: number
      readonly token: Uint8Array
    },
  ): Link {
    this.#pause?.cancel()
    this.#pause = undefined
    this.#failures = 0
    const link = this.#host.newLink({
      ...parts,
      peer: identity,
      lanes: this.#lanes,
      onClosed: (closed, reason) => this.#onLinkClosed(closed, reason),
    })
    this.#link = link
    return link
  }

  #announce(link: Link): void {
    if (link.closed) return
    this.#host.up(link)
    for (const waiter of this.#waiting.splice(0)) waiter.resolve(link)
  }

  #onLinkClosed(link: Link, reason: string): void {
    if (this.#link !== link) return
    this.#link = undefined
    this.#host.lanes.env.logger.debug({ peer: this.nodeId, reason }, 'a connection ended')
    const gone = new KeelsonError('UNREACHABLE', `the connection to ${this.nodeId} is gone: ${reason}`, {
      outcome: 'unknown',
    })
    link.streams.break(gone)
    this.#drop('unknown', gone)
    this.#host.down(link)
    this.#host.tidy(this.nodeId)
  }

  /** What was queued is gone; everybody who waits learns it. */
  #drop(outcome: 'none' | 'unknown', error: KeelsonError): void {
    this.#lanes.control.reset()
    this.#lanes.bulk.reset()
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error)
    this.#host.lost({ peer: this.nodeId, outcome })
  }
}
