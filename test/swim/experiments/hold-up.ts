import type { Swarm, SwarmProcess } from '../swarm/swarm.ts'
import type { Configuration } from './configurations.ts'

/** What it is to be held up. */
export interface HoldUp {
  /**
   * `all`: no packet leaves and none is taken in, as in Lifeguard's experiment. `receives`: only what comes waits; the prober of a
   * process with threads goes on asking, and hears no answer.
   */
  readonly hold: 'all' | 'receives'
  /** What a process needs to take in one packet of those that waited. */
  readonly packetMs: number
}

/** Which of its standstills a process is in; those that went on have none. */
const standstills = new WeakMap<SwarmProcess, number>()
let last = 0

/**
 * Holds a process up for a time, as Lifeguard's experiment does: before every send and after every receive. What waited
 * for it is taken in packet by packet when it goes on, as far as it comes before the next standstill.
 */
export function holdUp(
  swarm: Swarm,
  process: SwarmProcess,
  forMs: number,
  mode: Configuration['heldUp'],
  { hold, packetMs }: HoldUp,
): void {
  if (!process.alive || standstills.has(process)) return
  const standstill = ++last
  standstills.set(process, standstill)
  process.inbox ??= []
  const untilMs = swarm.nowMs + forMs
  if (mode === 'threads' && hold === 'all') {
    process.outbox = []
    runTimers(swarm, process, untilMs)
  } else if (mode === 'threads') keepOn(swarm, process, untilMs)
  swarm.at(forMs, () => {
    standstills.delete(process)
    if (mode === 'threads') {
      swarm.flush(process)
      // Its timers ran all the time; what it was sent is read after them.
      advance(swarm, process)
    }
    takeIn(swarm, process, mode, packetMs)
  })
}

function takeIn(swarm: Swarm, process: SwarmProcess, mode: Configuration['heldUp'], packetMs: number): void {
  if (standstills.has(process) || !process.alive) return
  if (swarm.takeOne(process)) {
    if (mode === 'threads') advance(swarm, process)
    swarm.at(packetMs, () => takeIn(swarm, process, mode, packetMs))
    return
  }
  // Like the driver, a loop that stood still lets time pass only when it has read what waited.
  advance(swarm, process)
}

/** Timers of a process of many threads: suspicions end while its prober hangs in its first send. */
function runTimers(swarm: Swarm, process: SwarmProcess, untilMs: number): void {
  const { core } = process
  const standstill = standstills.get(process)
  const tick = (): void => {
    if (swarm.nowMs >= untilMs || standstills.get(process) !== standstill) return
    const nowMs = swarm.localMs(process)
    core.membership.expireSuspicions(nowMs)
    if (process.outbox?.length === 0 && core.prober.deadlineMs <= nowMs) core.prober.advanceTo(nowMs)
    swarm.settle(process)
    const stuck = process.outbox?.length !== 0
    const probeMs = stuck ? Number.POSITIVE_INFINITY : core.prober.deadlineMs
    const nextMs = Math.min(core.membership.suspicions.deadlineMs, probeMs)
    if (nextMs < Number.POSITIVE_INFINITY) swarm.at(Math.max(0, nextMs - nowMs), tick)
  }
  tick()
}

/** All that a process of many threads does but take packets in. */
function keepOn(swarm: Swarm, process: SwarmProcess, untilMs: number): void {
  const standstill = standstills.get(process)
  const tick = (): void => {
    if (swarm.nowMs >= untilMs || standstills.get(process) !== standstill) return
    advance(swarm, process)
    const nextMs = process.core.nextDeadlineMs()
    if (nextMs < Number.POSITIVE_INFINITY) swarm.at(Math.max(0, nextMs - swarm.localMs(process)), tick)
  }
  tick()
}

function advance(swarm: Swarm, process: SwarmProcess): void {
  process.core.advanceTo(swarm.localMs(process))
  swarm.settle(process)
}
