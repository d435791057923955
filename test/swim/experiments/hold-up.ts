import type { Swarm, SwarmProcess } from '../swarm/swarm.ts'
import type { Configuration } from './configurations.ts'

/** What a process needs to take in one packet. */
const packetMs = 0.05

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
): void {
  if (!process.alive || standstills.has(process)) return
  const standstill = ++last
  standstills.set(process, standstill)
  process.inbox ??= []
  if (mode === 'threads') {
    process.outbox = []
    runTimers(swarm, process, swarm.nowMs + forMs)
  }
  swarm.at(forMs, () => {
    standstills.delete(process)
    if (mode === 'threads') {
      swarm.flush(process)
      // Its timers ran all the time; what it was sent is read after them.
      advance(swarm, process)
    }
    takeIn(swarm, process, mode)
  })
}

function takeIn(swarm: Swarm, process: SwarmProcess, mode: Configuration['heldUp']): void {
  if (standstills.has(process) || !process.alive) return
  if (swarm.takeOne(process)) {
    if (mode === 'threads') advance(swarm, process)
    swarm.at(packetMs, () => takeIn(swarm, process, mode))
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

function advance(swarm: Swarm, process: SwarmProcess): void {
  process.core.advanceTo(swarm.localMs(process))
  swarm.settle(process)
}
