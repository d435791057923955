import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  defaultOverloadTuning,
  OverloadMonitor,
  type PlacementNode,
  type StoreOverload,
} from '../../../src/placement/index.ts'

const second = 1000

/** Reports one value each second, and says at which seconds the level changed to what. */
function levels(
  monitor: OverloadMonitor,
  ioOverload: (second: number) => number,
  from: number,
  until: number,
): [second: number, level: StoreOverload | undefined][] {
  const changes: [number, StoreOverload | undefined][] = []
  for (let at = from; at < until; at++) {
    const changed = monitor.observe('db1', '', { ioOverload: ioOverload(at) }, at * second)
    if (changed) changes.push([at, monitor.level('db1')])
  }
  return changes
}

suite('which stores are overloaded', () => {
  test('one that stays above the threshold for long enough, and no spike', () => {
    const monitor = new OverloadMonitor()
    assert.deepEqual(
      levels(monitor, (at) => (at === 100 ? 5 : 0.3), 0, 600).filter(
        ([, level]) => level !== 'strained' && level !== undefined,
      ),
      [],
    )
    const changes = levels(monitor, () => 1, 600, 700)
    assert.deepEqual(
      changes.map(([, level]) => level),
      ['strained', 'overloaded'],
    )
    // The average has to rise first, and then to stay there for half a minute.
    const [at] = changes[1] as [number, StoreOverload]
    assert.ok(at >= 640 && at < 680, String(at))
  })

  test('it is so until it stays below a lower one for longer, and meanwhile it gives nothing away', () => {
    const monitor = new OverloadMonitor()
    levels(monitor, () => 1.2, 0, 100)
    assert.equal(monitor.level('db1'), 'overloaded')
    // Between the two thresholds it never recovers.
    assert.deepEqual(
      levels(monitor, () => 0.8, 100, 3000).map(([, level]) => level),
      ['recovering'],
    )
    const [[at, level] = []] = levels(monitor, () => 0.2, 3000, 4000)
    assert.equal(level, undefined)
    assert.ok(at !== undefined && at >= 3300 && at < 3320, String(at))
  })

  test('a relapse makes it wait for twice as long, up to a bound', () => {
    const monitor = new OverloadMonitor()
    let at = 0
    const relapse = (): number => {
      levels(monitor, () => 1.2, at, at + 100)
      assert.equal(monitor.level('db1'), 'overloaded')
      at += 100
      const since = at
      while (monitor.level('db1') !== undefined) levels(monitor, () => 0.1, at, ++at)
      return Math.round((at - since) / 100)
    }
    const waits = Array.from({ length: 6 }, relapse)
    assert.deepEqual(waits, [3, 6, 12, 24, 36, 36])
    // Who has none for long enough begins anew.
    levels(monitor, () => 0.1, at, at + 3700)
    at += 3700
    assert.equal(relapse(), 3)
  })

  test('one that is overloaded for very long, or in distress, is exhausted', () => {
    const long = levels(new OverloadMonitor(), () => 1, 0, 1000)
    assert.equal(long.at(-1)?.[1], 'exhausted')
    assert.ok((long.at(-1)?.[0] as number) >= 600)
    const severe = levels(new OverloadMonitor(), () => 3, 0, 1000)
    assert.equal(severe.at(-1)?.[1], 'exhausted')
    assert.ok((severe.at(-1)?.[0] as number) < 150)
  })

  test('the latency of a disk says as much as how busy it is', () => {
    const monitor = new OverloadMonitor()
    for (let at = 0; at < 100; at++) monitor.observe('db1', '', { diskLatencyMs: 150 }, at * second)
    assert.equal(monitor.level('db1'), 'overloaded')
  })

  test('of what was in a silence nobody knows, and nothing is made of it', () => {
    const monitor = new OverloadMonitor()
    for (let at = 0; at < 20; at++) monitor.observe('db1', '', { ioOverload: 1 }, at * second)
    monitor.observe('db1', '', { ioOverload: 1 }, 3600 * second)
    assert.equal(monitor.level('db1'), 'strained')
    for (let at = 0; at < 100; at++) monitor.observe('db1', '', { ioOverload: 1 }, (3600 + at) * second)
    assert.equal(monitor.level('db1'), 'overloaded')
    monitor.observe('db1', '', { ioOverload: 0 }, 9000 * second)
    assert.equal(monitor.level('db1'), 'recovering')
  })

  test('what makes no sense is no trouble, and what is not reported is none', () => {
    const monitor = new OverloadMonitor()
    for (let at = 0; at < 100; at++) {
      monitor.observe('db1', '', { ioOverload: Number.NaN, diskLatencyMs: -5 }, at * second)
      monitor.observe('db2', '', {}, at * second)
    }
    assert.deepEqual([monitor.level('db1'), monitor.level('db2')], [undefined, undefined])
  })

  test('a node is told as placement sees it, store by store', () => {
    const monitor = new OverloadMonitor({ smoothingMs: 0, overloadedAfterMs: 0 })
    const descriptor = {
      nodeId: 'db1',
      incarnation: 1,
      addresses: [],
      locality: [],
      capacity: {},
      labels: {},
    }
    const node: PlacementNode = {
      descriptor,
      state: 'active',
      liveness: 'live',
      forMs: 0,
      stores: [{ storeId: 'd1' }, { storeId: 'd2' }],
    }
    assert.equal(monitor.over(node), node)
    monitor.observe('db1', 'd2', { ioOverload: 1 }, 0)
    assert.deepEqual(monitor.over(node).stores, [
      { storeId: 'd1' },
      { storeId: 'd2', overload: 'overloaded' },
    ])
    monitor.observe('db1', '', { ioOverload: 0.8 }, 0)
    assert.equal(monitor.over(node).overload, 'strained')
    monitor.keep('db1', new Set(['']))
    assert.deepEqual(monitor.over(node).stores, node.stores)
    monitor.forget('db1')
    assert.equal(monitor.over(node), node)
  })

  test('tuning that contradicts itself is refused', () => {
    for (const tuning of [
      { calmShare: 0 },
      { exhaustedAfterMs: defaultOverloadTuning.overloadedAfterMs - 1 },
      { calmAfterMs: 10, maximumCalmAfterMs: 5 },
      { ioOverlod: 1 },
    ]) {
      assert.throws(() => new OverloadMonitor(tuning), { code: 'INVALID_OPTION' })
    }
  })
})
