import { writeFile } from 'node:fs/promises'
import { Session } from 'node:inspector/promises'
import { type Spent, watchSpending } from './load.ts'

/** Samples a millisecond: fine enough to tell functions of a few microseconds apart once there are thousands of them. */
const samplesPerMs = 4

/** Starts to watch what this process spends, and where, if a file for the profile is named. */
export async function watch(file: string | undefined): Promise<() => Spent | Promise<Spent>> {
  if (file === undefined) return watchSpending()
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: 1000 / samplesPerMs })
  await session.post('Profiler.start')
  const spent = watchSpending()
  return async () => {
    const result = spent()
    const { profile } = await session.post('Profiler.stop')
    session.disconnect()
    await writeFile(file, JSON.stringify(profile))
    return result
  }
}
