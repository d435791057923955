import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { devCluster, type KeelsonError } from '../../src/index.ts'
import { VirtualTime } from '../support/virtual-time.ts'

/** Runs `act` while the signal of every controller that is made is remembered; those that are dropped are forgotten. */
async function withSignals(act: (mostListeners: () => number) => Promise<void>): Promise<void> {
  const Original = globalThis.AbortController
  const signals: WeakRef<AbortSignal>[] = []
  globalThis.AbortController = class extends Original {
    constructor() {
      super()
      signals.push(new WeakRef(this.signal))
    }
  }
  const listeners = (signal: AbortSignal | undefined): number =>
    signal === undefined ? 0 : getEventListeners(signal, 'abort').length
  try {
    await act(() => signals.reduce((most, signal) => Math.max(most, listeners(signal.deref())), 0))
  } finally {
    globalThis.AbortController = Original
  }
}

test('a session that is lost leaves no listener behind', async () => {
  const time = new VirtualTime(5)
  await withSignals(async (mostListeners) => {
    const cluster = await time.until(devCluster({ env: time.env, servers: 1 }))
    const { agent } = await time.until(cluster.addNode('db1'))
    let reports = 0
    agent.serve({
      ranges: {
        reconcile: async () => {},
        observe: () => {
          reports++
          return []
        },
      },
    })
    const loseSession = async (): Promise<void> => {
      await time.untilTrue('the node has a session and reports under it', () => agent.live && reports > 0)
      const { epoch } = agent
      assert.ok(epoch !== undefined)
      await time.until(cluster.client.store.revokeSession(epoch))
      await time.untilTrue('the session is lost', () => agent.epoch !== epoch)
      reports = 0
    }
    for (let i = 0; i < 3; i++) await loseSession()
    const before = mostListeners()
    assert.ok(before > 0)
    for (let i = 0; i < 12; i++) await loseSession()
    assert.ok(mostListeners() < before + 12, `${mostListeners()} listeners of one signal, ${before} before`)
    await time.until(cluster.close())
  })
})

test('an agent can be closed at any moment after it was made', async () => {
  const time = new VirtualTime(6)
  const cluster = await time.until(devCluster({ env: time.env, servers: 1 }))
  const live = async (turns: number): Promise<void> => {
    const { agent } = await cluster.addNode(`db${turns}`)
    for (let turn = 0; turn < turns; turn++) await setImmediate()
    await agent.close()
  }
  for (let turns = 0; turns < 60; turns++) await time.until(live(turns), 60_000)
  await time.until(cluster.close())
})

test('a node whose host reports what cannot be tells the host, and the leader goes on leading', async () => {
  const time = new VirtualTime(11)
  const cluster = await time.until(devCluster({ env: time.env, servers: 1 }))
  const { agent } = await time.until(cluster.addNode('db1'))
  let cpu = 1
  const told: KeelsonError[] = []
  agent.on('refused', (error) => told.push(error))
  const reported = (): readonly string[] =>
    cluster.servers
      .flatMap(({ duties }) => duties?.nodes.reports.report('db1')?.load['cpu'] ?? [])
      .map(String)
  agent.serve({ ranges: { reconcile: async () => {}, observe: () => [] }, load: () => ({ cpu }) })
  await time.untilTrue('the node reports', () => reported().includes('1'))
  const epoch = cluster.servers[0]?.duties?.epoch.number
  cpu = -0.001
  await time.advance(5000)
  assert.deepEqual(
    told.map(({ code }) => code),
    ['INVALID_ARGUMENT'],
  )
  assert.equal(cluster.servers[0]?.duties?.epoch.number, epoch)
  cpu = 2
  await time.untilTrue('the node reports again', () => reported().includes('2'))
  await time.until(cluster.close())
})
