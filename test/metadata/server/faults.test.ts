import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sleep } from '../../../src/core/async.ts'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError, toKeelsonError } from '../../../src/core/errors.ts'
import { between, pick } from '../../../src/core/random.ts'
import type { MetadataStore } from '../../../src/interfaces/metadata-store.ts'
import { prefixSelector, SessionHolder } from '../../../src/metadata/index.ts'
import { RaftGroup } from '../../../src/raft/group/raft-group.ts'
import {
  checkLinearizability,
  type MapInput,
  type MapOutput,
  mapModel,
  type Operation,
} from '../../../src/simulation/index.ts'
import { MetadataCluster, type ServerNode } from '../support/cluster.ts'
import { injectFaults } from '../support/faults.ts'

const runMs = 10_000
const seeds = Array.from({ length: 6 }, (_, seed) => seed)
const prefix = prefixSelector(utf8('/w/'))

/** Puts keys that nobody else puts, one after the other. */
async function write(
  cluster: MetadataCluster,
  store: MetadataStore,
  name: string,
  acknowledged: Map<string, number>,
): Promise<void> {
  for (let i = 0; cluster.simulation.nowMs < runMs; i++) {
    const key = utf8(`/w/${name}/${i}`)
    try {
      const { revision } = await store.txn({ then: [{ type: 'put', key, value: utf8(`${i}`) }] })
      acknowledged.set(text(key), revision)
    } catch (error) {
      assert.ok(KeelsonError.hasCode(error, 'OUTCOME_UNKNOWN', 'TIMEOUT'), String(error))
    }
    await cluster.sleep(between(cluster.observer.random, 0, 100))
  }
}

/** What a watch yields, checked while it comes. */
async function watch(
  store: MetadataStore,
  seen: [revision: number, keys: string[]][],
  signal: AbortSignal,
): Promise<void> {
  let last = 0
  let progress = 0
  try {
    for await (const response of store.watch(prefix, { fromRevision: 1, previous: true, signal })) {
      if (response.type === 'progress') {
        assert.ok(response.revision >= last, 'progress never goes back')
        progress = response.revision
        continue
      }
      assert.ok(response.revision > last, 'revisions grow')
      assert.ok(response.revision > progress, 'no event comes behind a progress')
      last = response.revision
      for (const { entry, previous } of response.events) {
        assert.equal(previous, undefined)
        assert.equal(entry.createRevision, entry.modRevision)
      }
      seen.push([response.revision, response.events.map((event) => text(event.entry.key))])
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** Writes take effect once and watches miss nothing. */
async function exactlyOnce(seed: number): Promise<void> {
  const cluster = new MetadataCluster({ seed })
  await cluster.run(async () => {
    await cluster.start()
    const first: MetadataStore = await cluster.client()
    const second: MetadataStore = await cluster.client()
    const third: MetadataStore = await cluster.client()
    const acknowledged = new Map<string, number>()
    const stop = new AbortController()
    const seen: [number, string[]][][] = [[], []]
    const watching = [first, third].map((store, i) =>
      watch(store, seen[i] as [number, string[]][], stop.signal),
    )
    const faults = injectFaults(cluster)
    faults.start()
    await Promise.all([
      write(cluster, first, 'a', acknowledged),
      write(cluster, first, 'b', acknowledged),
      write(cluster, second, 'c', acknowledged),
    ])
    faults.stop()
    await cluster.until(() => cluster.servers.every((node) => node.running), 'all servers')
    await cluster.sleep(3_000)
    // Progress after the faults: the store serves again.
    await second.txn({ then: [{ type: 'put', key: utf8('/w/last'), value: utf8('') }] })
    await cluster.converged()
    const { entries } = await second.range(prefix)
    const versions = new Map(entries.map((entry) => [text(entry.key), entry]))
    for (const [key, revision] of acknowledged) {
      assert.equal(versions.get(key)?.modRevision, revision, `${key} was acknowledged`)
    }
    for (const [key, entry] of versions) assert.equal(entry.version, 1, `${key} took effect once`)
    // Every server holds the same.
    const digests = cluster.servers.map((node) => node.machine.digest())
    assert.equal(new Set(digests).size, 1)
    // The watches saw every change, once, in order.
    const expected = entries
      .map((entry): [number, string[]] => [entry.modRevision, [text(entry.key)]])
      .sort((a, b) => a[0] - b[0])
    const complete = (): boolean => seen.every((each) => each.length === expected.length)
    await cluster.until(complete, 'the watches to catch up')
    stop.abort()
    await Promise.all(watching)
    for (const each of seen) assert.deepEqual(each, expected)
  })
}

/** Reads and writes are linearizable. */
async function linearizable(seed: number): Promise<void> {
  const cluster = new MetadataCluster({ seed: seed + 1000, client: { callTimeoutMs: 3_000 } })
  await cluster.run(async () => {
    await cluster.start()
    const history: Operation<MapInput, MapOutput>[] = []
    const open = new Set<Operation<MapInput, MapOutput>>()
    const { random } = cluster.observer
    const act = async (client: string, store: MetadataStore): Promise<void> => {
      for (let i = 0; cluster.simulation.nowMs < runMs / 2; i++) {
        const key = pick(random, ['x', 'y'])
        const value = `${client}${i}`
        const type = pick(random, ['get', 'put', 'cas', 'delete'] as const)
        const expected = pick(random, [
          undefined,
          ...history.slice(-3).map(({ input }) => ('value' in input ? input.value : undefined)),
        ])
        const input: MapInput =
          type === 'cas'
            ? { type, key, expected, value }
            : type === 'put'
              ? { type, key, value }
              : { type, key }
        const calledAt = cluster.simulation.nowMs
        const call = { client, input, calledAt }
        open.add(call)
        try {
          const output = await perform(store, input)
          history.push({ client, input, calledAt, returnedAt: cluster.simulation.nowMs, output })
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'OUTCOME_UNKNOWN', 'TIMEOUT'), String(error))
          if (error.outcome === 'unknown') history.push(call)
        }
        open.delete(call)
        await cluster.sleep(between(random, 0, 150))
      }
    }
    const stores = [
      await cluster.client(),
      await cluster.client(),
      (cluster.servers[0] as ServerNode).server.store,
    ]
    const faults = injectFaults(cluster)
    faults.start()
    const embedded = stores[2] as MetadataStore
    await Promise.all([
      act('a', stores[0] as MetadataStore),
      act('b', stores[1] as MetadataStore),
      // The process of this one may crash: then it waits for ever.
      Promise.race([act('c', embedded), cluster.sleep(runMs)]),
    ])
    faults.stop()
    assert.ok(history.length > 0)
    // What the crashed one had begun may have taken effect.
    history.push(...open)
    const verdict = checkLinearizability(mapModel, history)
    assert.equal(verdict.result, 'linearizable', JSON.stringify(verdict))
  })
}

/** Holders stop before their sessions end. */
async function sessionsSafe(seed: number): Promise<void> {
  const holders: { readonly holder: SessionHolder; readonly paused: () => boolean }[] = []
  const violations: string[] = []
  const cluster: MetadataCluster = new MetadataCluster({
    seed: seed + 2000,
    onServe: (node) => {
      node.machine.onApplied(() => {
        for (const { holder, paused } of holders) {
          if (node.machine.reader.revision < holder.sessionId) continue
          if (node.machine.reader.session(holder.sessionId) !== undefined || paused()) continue
          if (holder.status() !== 'ended')
            violations.push(`${cluster.simulation.nowMs}: ${holder.sessionId} ended at ${node.name}`)
        }
      })
    },
  })
  await cluster.run(async () => {
    await cluster.start()
    const random = cluster.simulation.random('clocks')
    const drift = (name: string): void =>
      cluster.simulation.process(name).setClockRate(pick(random, [0.991, 1, 1.009]))
    for (const node of cluster.servers) drift(node.name)
    let renewed = 0
    const hold = async (name: string): Promise<void> => {
      const store = await cluster.client(name)
      drift(name)
      const process = cluster.simulation.process(name)
      while (cluster.simulation.nowMs < runMs) {
        try {
          const holder = await SessionHolder.open({ env: store.env, store, holder: name, ttlMs: 1_500 })
          holders.push({ holder, paused: () => process.state !== 'running' })
          renewed++
          await holder.ended()
        } catch (error) {
          assert.ok(KeelsonError.is(error), String(error))
          await sleep(store.env.timers, 200)
        }
      }
    }
    const faults = injectFaults(cluster)
    faults.start()
    const links = new Set<() => void>()
    // Each holder is cut off now and then.
    const cutting = (async () => {
      while (cluster.simulation.nowMs < runMs) {
        await cluster.sleep(between(random, 500, 3_000))
        const name = pick(random, ['h1', 'h2', 'h3'])
        const heal = cluster.conditions.partition(
          cluster.servers.flatMap((node): [string, string][] => [
            [name, node.name],
            [node.name, name],
          ]),
        )
        links.add(heal)
        await cluster.sleep(between(random, 100, 2_500))
        heal()
      }
    })()
    void hold('h1')
    void hold('h2')
    void hold('h3')
    await cutting
    faults.stop()
    for (const heal of links) heal()
    assert.ok(renewed >= 3)
    assert.deepEqual(violations, [])
    // What is dead is gone in the end, and what is alive stays.
    await cluster.until(() => cluster.servers.every((node) => node.running), 'all servers')
    await cluster.sleep(8_000)
    const leader = await cluster.leader()
    const alive = holders
      .filter(({ holder }) => holder.status() !== 'ended')
      .map(({ holder }) => holder.sessionId)
    const sessions = [...leader.machine.reader.sessions()].map((session) => session.sessionId)
    for (const session of alive) assert.ok(sessions.includes(session))
    assert.ok(sessions.length <= 3 + alive.length, `${sessions.length} sessions of 3 holders`)
  })
}

/** A leader that slept while others chose another one must not answer from what it knew. */
async function staleLeader(seed: number): Promise<void> {
  const cluster = new MetadataCluster({ seed })
  await cluster.run(async () => {
    await cluster.start()
    const key = utf8('x')
    const old = await cluster.leader()
    const [one, other] = [await cluster.client(), await cluster.client()]
    for (const store of [one, other]) await store.txn({ then: [{ type: 'put', key, value: utf8('1') }] })
    old.process.pause()
    await cluster.sleep(2_000)
    await other.txn({ then: [{ type: 'put', key, value: utf8('2') }] })
    // This one still takes the sleeper for the leader.
    const reading = one.get(key)
    // Not for so long that it would ask the others.
    await cluster.sleep(100)
    old.process.resume()
    assert.equal(text((await reading)?.value as Uint8Array), '2')
  })
}

const scenarios = {
  'writes take effect once and watches miss nothing': exactlyOnce,
  'reads and writes are linearizable': linearizable,
  'holders stop before their sessions end': sessionsSafe,
  'a leader that slept does not answer from the past': staleLeader,
}

describe('under crashes, pauses, partitions and broken connections', () => {
  for (const [name, scenario] of Object.entries(scenarios))
    for (const seed of seeds) test(`${name} (seed ${seed})`, async () => scenario(seed))
})

/** Plants a mistake in every group, and tells whether one of some seeds of a scenario finds it. */
async function found(
  scenario: (seed: number) => Promise<void>,
  mistake: Partial<Pick<RaftGroup, 'proposeBatch' | 'read'>>,
): Promise<boolean> {
  const { proposeBatch, read } = RaftGroup.prototype
  Object.assign(RaftGroup.prototype, mistake)
  try {
    for (let seed = 0; seed < 20; seed++) {
      const error = await scenario(seed).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      assert.ok(error === undefined || error instanceof assert.AssertionError, String(error))
      if (error !== undefined) return true
    }
    return false
  } finally {
    Object.assign(RaftGroup.prototype, { proposeBatch, read })
  }
}

describe('planted mistakes are found', () => {
  test('commands without their ids take effect twice', async () => {
    const seen = await found(exactlyOnce, {
      async proposeBatch(this: RaftGroup, commands) {
        return Promise.all(commands.map(async ({ data }) => this.propose(data).catch(toKeelsonError)))
      },
    })
    assert.equal(seen, true)
  })

  test('a read without a barrier is stale', async () => {
    assert.equal(await found(staleLeader, { read: async () => {} }), true)
  })
})

async function perform(store: MetadataStore, input: MapInput): Promise<MapOutput> {
  const key = utf8(input.key)
  switch (input.type) {
    case 'get': {
      const entry = await store.get(key)
      return entry === undefined ? undefined : text(entry.value)
    }
    case 'put':
      await store.txn({ then: [{ type: 'put', key, value: utf8(input.value) }] })
      return undefined
    case 'delete':
      await store.txn({ then: [{ type: 'delete', select: { key } }] })
      return undefined
    case 'cas': {
      const holds =
        input.expected === undefined
          ? ({ key, target: 'version', is: '=', operand: 0 } as const)
          : ({ key, target: 'value', is: '=', operand: utf8(input.expected) } as const)
      const { succeeded } = await store.txn({
        if: [holds],
        then: [{ type: 'put', key, value: utf8(input.value) }],
      })
      return succeeded
    }
  }
}
