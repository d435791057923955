import type { WebSocket } from 'ws'
import type { TimerHandle, Timers } from '../../core/clock.ts'

interface Watched {
  readonly socket: WebSocket
  heard: boolean
  /** What waited to be written at the last check: less of it now means that the peer's side takes bytes. */
  buffered: number
  silences: number
}

const maximumSilences = 3

/**
 * Finds half-open connections. Silent intervals are counted rather than measured, so that a process that was stopped for a
 * minute has missed one interval and not twelve.
 */
export class Heartbeat {
  readonly #timers: Timers
  readonly #intervalMs: number
  readonly #maximumBufferedBytes: number
  readonly #onDead: (reason: string) => void
  readonly #watched: Watched[] = []
  #timer: TimerHandle | undefined
  #stopped = false

  /** Above `maximumBufferedBytes` a peer makes this side write (answers to pings) and reads nothing of it. */
  constructor(
    timers: Timers,
    intervalMs: number,
    maximumBufferedBytes: number,
    onDead: (reason: string) => void,
  ) {
    this.#timers = timers
    this.#intervalMs = intervalMs
    this.#maximumBufferedBytes = maximumBufferedBytes
    this.#onDead = onDead
  }

  add(socket: WebSocket): void {
    const watched: Watched = { socket, heard: true, buffered: 0, silences: 0 }
    this.#watched.push(watched)
    const onHeard = (): void => {
      watched.heard = true
    }
    socket.on('message', onHeard)
    socket.on('ping', onHeard)
    socket.on('pong', onHeard)
    if (this.#timer === undefined) this.#schedule()
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #schedule(): void {
    // What came in while the process was stopped counts: it is taken before the check.
    this.#timer = this.#timers.schedule(this.#intervalMs, () => this.#timers.defer(() => this.#check()))
  }

  #check(): void {
    if (this.#stopped) return
    for (const watched of this.#watched) {
      const buffered = watched.socket.bufferedAmount
      const alive = watched.heard || buffered < watched.buffered
      watched.silences = alive ? 0 : watched.silences + 1
      watched.heard = false
      watched.buffered = buffered
      if (watched.silences >= maximumSilences || buffered > this.#maximumBufferedBytes) {
        this.#onDead(alive ? 'the peer does not read' : 'the peer is silent')
        return
      }
      if (watched.socket.readyState === watched.socket.OPEN) watched.socket.ping()
    }
    this.#schedule()
  }
}
