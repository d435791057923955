import type { Swarm, SwarmProcess } from '../swarm/swarm.ts'
import type { Configuration } from './configurations.ts'
import { Threads } from './threads.ts'

/** What it is to be held up. */
export interface HoldUp {
  /**
   * `all`: a process stands before every send and after every receive, as in Lifeguard's experiment. `receives`: only what comes
   * waits; a process of threads goes on asking, and hears no answer.
   */
  readonly hold: 'all' | 'receives'
  /** What a process needs for one packet: to take it in, or, in a process of threads, to send it. */
  readonly packetMs: number
  /** How long after a standstill the threads of a process go on, in the mean. */
  readonly wakeMs: number
}

/** Loops that stand still. */
const standing = new WeakSet<SwarmProcess>()

/** How to hold a process up, again and again, for so many milliseconds each time. */
export function holdUpOf(
  swarm: Swarm,
  process: SwarmProcess,
  mode: Configuration['heldUp'],
  { hold, packetMs, wakeMs }: HoldUp,
): (forMs: number) => void {
  if (mode === 'loop') return (forMs) => stopLoop(swarm, process, forMs, packetMs)
  const threads = new Threads(swarm, process, { sends: hold === 'all', packetMs, wakeMs })
  return (forMs) => threads.holdUp(forMs)
}

/** Stops one event loop as a whole. What waited is taken in packet by packet afterwards, as far as it comes before the next stop. */
function stopLoop(swarm: Swarm, process: SwarmProcess, forMs: number, packetMs: number): void {
  if (!process.alive || standing.has(process)) return
  standing.add(process)
  process.inbox ??= []
  swarm.at(forMs, () => {
    standing.delete(process)
    takeIn(swarm, process, packetMs)
  })
}

function takeIn(swarm: Swarm, process: SwarmProcess, packetMs: number): void {
  if (standing.has(process) || !process.alive) return
  if (swarm.takeOne(process)) {
    swarm.at(packetMs, () => takeIn(swarm, process, packetMs))
    return
  }
  // Like the driver, a loop that stood still lets time pass only when it has read what waited.
  process.core.advanceTo(swarm.localMs(process))
  swarm.settle(process)
}
