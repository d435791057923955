import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { silentLogger } from '../../src/core/logger.ts'
import { MetricsRegistry } from '../../src/core/metrics.ts'
import { nodeEnvironment } from '../../src/core/node-environment.ts'
import type { SwimDelivery, SwimEvent } from '../../src/swim/core/types.ts'
import { HostSide } from '../../src/swim/host-side.ts'
import { said } from './support/core.ts'

const payload = new Uint8Array([1])
const leftMs = 2_000

/** A host of slow listeners, whose clock goes on while they are called. */
class SlowHost {
  nowMs = 0
  changes = 0
  readonly answered: string[] = []
  readonly metrics: MetricsRegistry = new MetricsRegistry()
  readonly host: HostSide
  readonly #turns: (() => void)[] = []

  constructor() {
    const env = {
      ...nodeEnvironment({ metrics: this.metrics }),
      clock: { monotonicMs: () => this.nowMs, wallMs: () => 0 },
      timers: {
        schedule: () => ({ cancel: () => undefined }),
        defer: (callback: () => void) => this.#turns.push(callback),
      },
    }
    this.host = new HostSide({
      env,
      logger: silentLogger,
      coalesceMs: 100,
      nodeId: 'self',
      answer: ({ name }) => this.answered.push(name),
    })
    this.host.events.on('change', () => {
      this.changes++
      this.nowMs += 20
    })
  }

  take(events: number, ...deliveries: readonly SwimDelivery[]): void {
    const event: SwimEvent = { type: 'alive', member: said('a', 1).entry('alive').member, accusedBy: [] }
    this.host.take(
      Array.from({ length: events }, () => event),
      deliveries,
    )
  }

  turn(times: number): void {
    for (let i = 0; i < times; i++) this.#turns.shift()?.()
  }
}

const query = { kind: 'query', origin: 'a', time: 1, id: 1, name: 'load', payload, leftMs } as const

suite('a host whose listeners are slow', () => {
  test('is told and asked all the same, and gets its answers at once', async () => {
    const slow = new SlowHost()
    const told: string[] = []
    slow.host.events.on('told', ({ name }) => told.push(name))
    slow.host.handle('load', () => payload)
    const answers = slow.host.queries.collect(7, 1, 1_000, undefined)
    slow.take(5_000, { kind: 'event', origin: 'a', time: 1, id: 1, name: 'news', payload }, query, {
      kind: 'answer',
      id: 7,
      responder: 'a',
      payload,
    })
    assert.deepEqual(await answers, [{ nodeId: 'a', payload }], 'before any listener was called')
    assert.equal(slow.changes, 0)
    slow.turn(4)
    assert.deepEqual(told, ['news'])
    assert.deepEqual(slow.answered, ['load'])
    assert.ok(slow.changes < 5, `${slow.changes} slow calls came first`)
  })

  test('is not asked any more when its asker has given up', () => {
    const slow = new SlowHost()
    slow.host.handle('load', () => payload)
    slow.take(1, query)
    slow.nowMs += leftMs
    slow.turn(4)
    assert.deepEqual(slow.answered, [])
  })

  test('loses the oldest changes when 10,000 wait, which is counted', () => {
    const slow = new SlowHost()
    slow.take(10_003)
    assert.equal(slow.host.dropped, 3)
    assert.match(slow.metrics.text(), /keelson_swim_deliveries_dropped_total\{lane="change",node="self"\} 3/)
  })
})
