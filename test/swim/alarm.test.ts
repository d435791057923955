import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { nodeEnvironment } from '../../src/core/node-environment.ts'
import { Alarm } from '../../src/swim/alarm.ts'
import type { SwimCore } from '../../src/swim/core/swim-core.ts'
import { alive, hear, makeCore } from './support/core.ts'

const probeTimeoutMs = 500

/** An event loop of one timer, turned by hand. */
class Loop {
  nowMs = 0
  readonly core: SwimCore = makeCore({ probeTimeoutMs })
  readonly advanced: number[] = []
  readonly turns: (() => void)[] = []
  readonly alarm: Alarm
  #timer: (() => void) | undefined

  constructor() {
    hear(this.core, 'a', 0, alive('a', 1))
    const { advanceTo } = this.core
    this.core.advanceTo = (nowMs) => {
      this.advanced.push(nowMs)
      advanceTo.call(this.core, nowMs)
    }
    const env = {
      ...nodeEnvironment(),
      clock: { monotonicMs: () => this.nowMs, wallMs: () => 0 },
      timers: {
        schedule: (_: number, callback: () => void) => {
          this.#timer = callback
          return { cancel: () => undefined }
        },
        defer: (callback: () => void) => this.turns.push(callback),
      },
    }
    this.alarm = new Alarm({ env, core: this.core, probeTimeoutMs, pump: () => undefined })
    this.alarm.set()
  }

  /** The timer fires so much later than it is due. */
  ring(lateMs: number): void {
    this.nowMs = this.core.nextDeadlineMs() + lateMs
    this.#timer?.()
  }

  turn(): void {
    this.turns.shift()?.()
  }
}

suite('the alarm of a core', () => {
  test('advances it in time at once, and blames nobody', () => {
    const loop = new Loop()
    loop.ring(2)
    assert.equal(loop.advanced.length, 1)
    assert.equal(loop.core.localHealth, 0)
  })

  test('takes the lag of its own process for a reason to distrust itself, before it accuses others', () => {
    for (const [lateMs, health] of [
      [100, 0],
      [200, 1],
      [490, 1],
    ] as const) {
      const loop = new Loop()
      loop.ring(lateMs)
      assert.equal(loop.core.localHealth, health, `${lateMs} ms late`)
      assert.deepEqual(loop.advanced, [], 'what waits is let in first')
      loop.turn()
      assert.equal(loop.advanced.length, 1)
      assert.equal(loop.core.counters.stalls, 0)
    }
    // Beyond a probe's timeout it is a standstill, which the core notices: it counts once.
    const stopped = new Loop()
    stopped.ring(700)
    assert.equal(stopped.core.localHealth, 0)
    stopped.turn()
    assert.equal(stopped.core.localHealth, 1)
    assert.equal(stopped.core.counters.stalls, 1)
  })

  test('lets in what waits for as long as more comes, within a limit', () => {
    const loop = new Loop()
    loop.ring(200)
    for (let turns = 0; turns < 3; turns++) {
      hear(loop.core, 'a', loop.nowMs, alive('a', 1))
      loop.turn()
      assert.deepEqual(loop.advanced, [])
    }
    loop.turn()
    assert.equal(loop.advanced.length, 1)
    const flooded = new Loop()
    flooded.ring(200)
    let turns = 0
    for (; flooded.advanced.length === 0 && turns < 1_000; turns++) {
      hear(flooded.core, 'a', flooded.nowMs, alive('a', 1))
      flooded.turn()
    }
    assert.ok(turns > 10 && turns < 100, `${turns} turns`)
  })

  test('a closed one advances nothing', () => {
    const loop = new Loop()
    loop.ring(200)
    loop.alarm.close()
    loop.turn()
    assert.deepEqual(loop.advanced, [])
  })
})
