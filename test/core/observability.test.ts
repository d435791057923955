import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { Events } from '../../src/core/events.ts'
import { type LogRecord, recordLogger, silentLogger, sparingly } from '../../src/core/logger.ts'
import { MetricsRegistry } from '../../src/core/metrics.ts'
import { nodeEnvironment } from '../../src/core/node-environment.ts'

test('a listener that throws is logged and harms nobody', () => {
  const records: LogRecord[] = []
  const events = new Events<{ change: (value: number) => void }>(
    recordLogger((record) => records.push(record)),
    ['change'],
  )
  const seen: number[] = []
  events.on('change', () => {
    throw new Error('listener')
  })
  const off = events.on('change', (value) => seen.push(value))
  events.emit('change', 1)
  off()
  events.emit('change', 2)
  assert.deepEqual(seen, [1])
  assert.equal(records.length, 2)
  assert.equal(records[0]?.level, 'error')
  assert.equal(events.listenerCount('change'), 1)
  events.removeAll()
  assert.equal(events.listenerCount('change'), 0)
})

test('a listener that waits and fails is logged, and does not end the process', async () => {
  const records: LogRecord[] = []
  const events = new Events<{ change: () => void }>(
    recordLogger((record) => records.push(record)),
    ['change'],
  )
  const careless = (): unknown => Promise.reject(new Error('later'))
  events.on('change', careless)
  events.emit('change')
  // Unheeded it would end the process by now.
  await new Promise<void>((resolve) => {
    setImmediate(resolve)
  })
  assert.deepEqual(
    records.map(({ level, message }) => [level, message]),
    [['error', 'an event listener was rejected']],
  )
})

test('timers take more than setTimeout does', () => {
  const delays: number[] = []
  const waiting: (() => void)[] = []
  const fake = mock.method(globalThis, 'setTimeout', (callback: () => void, delayMs: number) => {
    delays.push(delayMs)
    waiting.push(callback)
  })
  try {
    let called = 0
    nodeEnvironment().timers.schedule(2 ** 32, () => called++)
    while (waiting.length > 0) waiting.shift()?.()
    assert.equal(called, 1)
  } finally {
    fake.mock.restore()
  }
  assert.ok(delays.every((delayMs) => delayMs < 2 ** 31))
  assert.equal(
    delays.reduce((sum, delayMs) => sum + delayMs, 0),
    2 ** 32,
  )
})

test('a record logger keeps its level and binds the fields of its children', () => {
  const records: LogRecord[] = []
  const logger = recordLogger((record) => records.push(record), 'warn')
    .child({ node: 'db1' })
    .child({ group: 4 })
  logger.info({}, 'too quiet')
  logger.warn({ term: 2 }, 'loud enough')
  silentLogger.child({}).error({}, 'nobody hears this')
  assert.deepEqual(records, [
    { level: 'warn', message: 'loud enough', fields: { node: 'db1', group: 4, term: 2 } },
  ])
})

test('what a peer can cause at will is logged sparingly, and says how often it was left out', () => {
  const records: LogRecord[] = []
  let nowMs = 5
  const clock = { monotonicMs: () => nowMs, wallMs: () => 0 }
  const complain = sparingly(clock, recordLogger((record) => records.push(record)).warn)
  for (let i = 0; i < 1_000; i++) complain({ i }, 'malformed')
  nowMs += 10_000
  complain({ i: 1_000 }, 'malformed')
  nowMs += 10_000
  complain({ i: 1_001 }, 'malformed')
  assert.deepEqual(
    records.map(({ fields }) => fields),
    [{ i: 0 }, { i: 1_000, suppressed: 999 }, { i: 1_001 }],
  )
})

test('metrics print as Prometheus text', () => {
  const registry = new MetricsRegistry()
  registry.counter('keelson_raft_elections_total', 'Elections started.').add(2, { group: '1' })
  registry.counter('keelson_raft_elections_total', 'Elections started.').add(1, { group: '1' })
  registry.gauge('keelson_raft_term', 'Current\nterm.').set(7, { name: 'a"b' })
  const latency = registry.histogram('keelson_sync_ms', 'Sync.', [1, 10])
  for (const value of [0.5, 5, 50]) latency.observe(value)
  assert.equal(
    registry.text(),
    [
      '# HELP keelson_raft_elections_total Elections started.',
      '# TYPE keelson_raft_elections_total counter',
      'keelson_raft_elections_total{group="1"} 3',
      '# HELP keelson_raft_term Current term.',
      '# TYPE keelson_raft_term gauge',
      'keelson_raft_term{name="a\\"b"} 7',
      '# HELP keelson_sync_ms Sync.',
      '# TYPE keelson_sync_ms histogram',
      'keelson_sync_ms_bucket{le="1"} 1',
      'keelson_sync_ms_bucket{le="10"} 2',
      'keelson_sync_ms_bucket{le="+Inf"} 3',
      'keelson_sync_ms_sum 55.5',
      'keelson_sync_ms_count 3',
      '',
    ].join('\n'),
  )
  assert.throws(() => registry.gauge('keelson_sync_ms', ''), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => registry.gauge('no spaces', ''), { code: 'INVALID_ARGUMENT' })
})

test('two environments of one process share nothing, and each runs', async () => {
  const a = nodeEnvironment()
  const b = nodeEnvironment()
  assert.notEqual(a.metrics, b.metrics)
  assert.notEqual(a.random.uint32(), b.random.uint32())
  assert.ok(a.clock.monotonicMs() > 0 && a.clock.wallMs() > 0)
  await new Promise<void>((resolve) => a.timers.schedule(0, () => a.timers.defer(resolve)))
  a.timers.schedule(60_000, () => assert.fail('cancelled timers do not fire')).cancel()
})
