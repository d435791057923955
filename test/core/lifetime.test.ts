import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deferred, sleep, untilAborted } from '../../src/core/async.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { Lifetime } from '../../src/core/lifetime.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { Simulation } from '../../src/simulation/index.ts'

const deposed = new KeelsonError('STALE_EPOCH', 'another leader has taken over')
const away = new KeelsonError('UNREACHABLE', 'nobody answers just now')

function lifetime(signal?: AbortSignal): Lifetime {
  return new Lifetime(silentLogger, 'the watch', signal)
}

test('a life that is asked to stop ends without a reason, after its last part', async () => {
  const life = lifetime()
  const last = deferred<void>()
  let ended = false
  const stopped = life.run(
    () => untilAborted(life.signal),
    () => last.promise,
  )
  void stopped.then(() => {
    ended = true
  })
  life.stop()
  life.stop(deposed)
  await untilAborted(life.signal)
  await new Promise(setImmediate)
  assert.equal(ended, false)
  last.resolve()
  assert.equal(await stopped, undefined)
  assert.ok(KeelsonError.hasCode(life.signal.reason, 'CLOSED'))
})

test('a part that throws stops the others and is the reason', async () => {
  const life = lifetime()
  const stopped = life.run(
    () => untilAborted(life.signal),
    () => Promise.reject(deposed),
  )
  assert.equal(await stopped, deposed)
  assert.equal(life.signal.reason, deposed)
})

test('a signal from outside ends it, also one that was aborted before', async () => {
  const controller = new AbortController()
  const life = lifetime(controller.signal)
  const stopped = life.run(() => untilAborted(life.signal))
  controller.abort()
  assert.equal(await stopped, undefined)
  assert.equal(lifetime(controller.signal).signal.aborted, true)
})

test('rounds go on after failures that pass, and end with the first that does not', async () => {
  const simulation = new Simulation({ seed: 1 })
  const { timers, clock } = simulation.environment('a')
  const begun: number[] = []
  const life = lifetime()
  const stopped = life.run(() =>
    life.rounds(timers, 100, async () => {
      begun.push(clock.monotonicMs())
      if (begun.length === 2) throw away
      if (begun.length === 3) throw deposed
      await sleep(timers, 10, life.signal)
    }),
  )
  const error = await simulation.until(stopped)
  assert.equal(error, deposed)
  const [first = 0] = begun
  assert.deepEqual(
    begun.map((atMs) => atMs - first),
    [0, 110, 210],
  )
})
