import { performance } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import type { BenchCluster, BenchProcess } from './processes.ts'
import { durableGroup } from './protocol.ts'

/** How long writes were impossible, in milliseconds from the signal. */
export interface Failover {
  /** Until one of the other servers has committed a write that was proposed there. */
  readonly groupMs: number
  /** Until a client in another process had a write acknowledged that it began after the signal. */
  readonly clientMs: number
}

/** Stops the leader of both groups in one way or the other, waits for writes, and brings it back. */
export async function failover(cluster: BenchCluster, signal: 'SIGKILL' | 'SIGSTOP'): Promise<Failover> {
  const leader = await cluster.gather(durableGroup)
  await cluster.client.ask({ type: 'write' })
  // Heartbeats have gone out since the last hand-over.
  await wait(500)
  const others = cluster.servers.filter((server) => server !== leader)
  const startedMs = performance.now()
  const sinceStart = async (event: Promise<unknown>): Promise<number> => {
    await event
    return performance.now() - startedMs
  }
  leader.signal(signal)
  const [groupMs, clientMs] = await Promise.all([
    sinceStart(Promise.any(others.map(async (server) => writeOnce(server)))),
    sinceStart(cluster.client.ask({ type: 'write' })),
  ])
  if (signal === 'SIGSTOP') leader.signal('SIGCONT')
  else {
    await leader.gone()
    await cluster.startServer(leader)
  }
  await cluster.leader(durableGroup)
  return { groupMs, clientMs }
}

/** Asks again until it leads or time is over. */
async function writeOnce(server: BenchProcess): Promise<void> {
  const endMs = performance.now() + 20_000
  while (performance.now() < endMs) {
    try {
      await server.ask({ type: 'write' })
      return
    } catch {
      await wait(2)
    }
  }
  throw new Error(`${server.name} took no write`)
}
