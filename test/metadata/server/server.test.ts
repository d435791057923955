import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { encodePlain } from '../../../src/core/codec.ts'
import { type ErrorCode, KeelsonError } from '../../../src/core/errors.ts'
import type { MetadataStore, Operation, WatchResponse } from '../../../src/interfaces/metadata-store.ts'
import { MetadataClient, MetadataServer, prefixSelector } from '../../../src/metadata/index.ts'
import { encodeCommand } from '../../../src/metadata/mvcc/commands.ts'
import { methods } from '../../../src/metadata/protocol.ts'
import { Rpc } from '../../../src/transport/index.ts'
import { MetadataCluster, type MetadataClusterOptions, type ServerNode } from '../support/cluster.ts'

function code(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => KeelsonError.hasCode(error, ...codes)
}

function put(key: string, value: string | Uint8Array): Operation {
  return { type: 'put', key: utf8(key), value: typeof value === 'string' ? utf8(value) : value }
}

async function write(store: MetadataStore, key: string, value: string | Uint8Array): Promise<number> {
  return (await store.txn({ then: [put(key, value)] })).revision
}

const everything = prefixSelector(utf8('k'))

/** Collects what a watch yields until it is stopped. */
function collect(
  store: MetadataStore,
  fromRevision: number,
): { readonly revisions: number[]; error?: unknown } {
  const seen: { readonly revisions: number[]; error?: unknown } = { revisions: [] }
  void (async () => {
    try {
      for await (const response of store.watch(everything, { fromRevision }))
        if (response.type === 'changes') seen.revisions.push(response.revision)
    } catch (error) {
      seen.error = error
    }
  })()
  return seen
}

async function scenario(
  options: MetadataClusterOptions,
  body: (cluster: MetadataCluster) => Promise<void>,
): Promise<void> {
  const cluster = new MetadataCluster(options)
  await cluster.run(async () => {
    await cluster.start()
    await body(cluster)
  })
}

describe('MetadataServer', () => {
  test('answers local reads and watches while there is no leader', async () => {
    await scenario({}, async (cluster) => {
      const client = await cluster.client()
      const first = await write(client, 'k1', 'a')
      const last = await write(client, 'k2', 'b')
      await cluster.converged()
      const survivor = (await cluster.followers())[0] as ServerNode
      for (const node of cluster.servers) if (node !== survivor) node.crash()
      await cluster.until(() => survivor.group.status().leader === undefined, 'no leader')
      for (const store of [survivor.server.store, client]) {
        assert.equal((await store.range(everything, { consistency: 'local' })).count, 2)
        const responses: WatchResponse[] = []
        for await (const response of store.watch(everything, { fromRevision: first })) {
          responses.push(response)
          if (response.revision === last) break
        }
        assert.equal(responses.length, 2)
      }
      await assert.rejects(survivor.server.store.range(everything), code('TIMEOUT'))
      await assert.rejects(write(survivor.server.store, 'k3', ''), code('TIMEOUT'))
    })
  })

  test('a watch from now on waits for a leader and then starts', async () => {
    await scenario({}, async (cluster) => {
      const client = await cluster.client()
      await write(client, 'k1', 'a')
      const away = cluster.servers.slice(0, 2)
      for (const node of away) node.crash()
      const survivor = cluster.servers[2] as ServerNode
      const watch = survivor.server.store.watch(everything)[Symbol.asyncIterator]()
      const first = watch.next()
      await cluster.sleep(15_000)
      for (const node of away) await node.restart()
      const { value } = (await first) as IteratorYieldResult<WatchResponse>
      assert.equal(value.type, 'progress')
      const revision = await write(client, 'k1', 'b')
      const next = (await watch.next()) as IteratorYieldResult<WatchResponse>
      assert.deepEqual([next.value.type, next.value.revision], ['changes', revision])
      await watch.return?.()
    })
  })

  test('a watch goes on elsewhere when its server is behind a partition', async () => {
    await scenario({ tuning: { staleAfterMs: 1_000 } }, async (cluster) => {
      const client = await cluster.client()
      const first = await write(client, 'k', '0')
      const other = await cluster.client()
      const seen = collect(client, first)
      await cluster.until(() => seen.revisions.length === 1, 'the first change')
      const server = cluster.servers.find((node) => node.server.status().watchers === 1) as ServerNode
      const others = cluster.servers.filter((node) => node !== server)
      cluster.conditions.partition(
        others.flatMap((node): [string, string][] => [
          [node.name, server.name],
          [server.name, node.name],
        ]),
      )
      const last = await write(other, 'k', '1')
      await cluster.until(() => seen.revisions.length === 2, 'the second change', 10_000)
      assert.deepEqual(seen.revisions, [first, last])
      assert.equal(server.server.status().watchers, 0)
    })
  })

  test('a watch goes on over a snapshot that its server installs', async () => {
    const limits = { compactAfterEntries: 50, keptEntries: 10 }
    await scenario({ host: { limits } }, async (cluster) => {
      const client = await cluster.client()
      const first = await write(client, 'k', '0')
      await cluster.converged()
      const server = (await cluster.followers())[0] as ServerNode
      const seen = collect(server.server.store, first)
      const heal = cluster.conditions.partition(
        cluster.servers.flatMap((node): [string, string][] =>
          node === server
            ? []
            : [
                [node.name, server.name],
                [server.name, node.name],
              ],
        ),
      )
      let last = first
      for (let i = 1; i <= 200; i++) last = await write(client, `k${i % 7}`, `${i}`)
      assert.deepEqual(seen.revisions, [first])
      heal()
      await cluster.until(() => seen.revisions.length === 201, 'the rest')
      assert.deepEqual(
        seen.revisions,
        Array.from({ length: 201 }, (_, i) => first + i),
      )
      assert.equal(last, first + 200)
      await server.machine.verify()
    })
  })

  test('a power cut takes nothing that the log does not hold any more', async () => {
    const limits = { compactAfterEntries: 10, keptEntries: 1 }
    for (let seed = 1; seed <= 12; seed++) {
      await scenario({ seed, servers: 1, host: { limits } }, async (cluster) => {
        const client = await cluster.client()
        const server = await cluster.leader()
        for (let life = 1; life <= 3; life++) {
          for (let i = 1; i <= 25; i++) await write(client, `k${life}/${i}`, `${i}`)
          server.crash('power')
          await server.restart()
          assert.equal((await client.range(everything)).count, 25 * life, `seed ${seed}`)
        }
      })
    }
  })

  test('compacts by itself, and clears away', async () => {
    await scenario({ tuning: { historyRevisions: 50 } }, async (cluster) => {
      const client = await cluster.client()
      for (let i = 0; i < 300; i++) await write(client, `k${i % 5}`, `${i}`)
      const leader = await cluster.leader()
      await cluster.until(() => !leader.machine.hasGarbage, 'the store to be clear')
      await cluster.converged()
      const { revision, compactRevision } = leader.server.status()
      assert.ok(revision - compactRevision <= 65, `${revision} - ${compactRevision}`)
      assert.equal(new Set(cluster.servers.map((node) => node.machine.digest())).size, 1)
      await assert.rejects(client.get(utf8('k1'), { revision: 1 }), code('COMPACTED'))
    })
  })

  test('refuses growth beyond the quota, says so, and goes on reading', async () => {
    await scenario({ tuning: { quotaBytes: 4096 } }, async (cluster) => {
      const client = await cluster.client()
      await write(client, 'k', 'x'.repeat(2000))
      await assert.rejects(write(client, 'l', 'x'.repeat(2500)), (error) => {
        assert.ok(KeelsonError.hasCode(error, 'LIMIT_EXCEEDED'))
        assert.equal(error.details['quotaBytes'], 4096)
        return true
      })
      assert.equal((await client.get(utf8('k')))?.value.length, 2000)
    })
  })

  test('finds a member that computed something else', async () => {
    await scenario({ tuning: { verifyIntervalMs: 5_000 } }, async (cluster) => {
      const client = await cluster.client()
      await write(client, 'k', '1')
      await cluster.converged()
      const leader = await cluster.leader()
      const [bad, good] = (await cluster.followers()) as [ServerNode, ServerNode]
      const mismatches: string[] = []
      leader.server.on('mismatch', (nodeId) => mismatches.push(nodeId))
      assert.deepEqual(await leader.server.verify(), [])
      assert.deepEqual(await good.server.verify(), [])
      // A command that the log never held.
      const data = encodeCommand({ type: 'txn', quotaBytes: 1e9, transaction: { then: [put('k', 'wrong')] } })
      await bad.machine.apply([{ index: 1, term: 1, data }], () => [])
      await cluster.until(() => mismatches.length > 0, 'the mismatch')
      assert.deepEqual(mismatches, [bad.name])
    })
  })

  test('its store and the server close by themselves', async () => {
    await scenario({}, async (cluster) => {
      const leader = await cluster.leader()
      const { store } = leader.server
      const waiting = store.watch(everything)[Symbol.asyncIterator]()
      await waiting.next()
      const next = waiting.next()
      await leader.server.close()
      await leader.server.close()
      await assert.rejects(next, code('CLOSED'))
      await assert.rejects(store.get(utf8('k')), code('CLOSED'))
      // The others serve, and so does the group.
      const client = await cluster.client()
      await cluster.leader()
      leader.crash()
      await write(client, 'k', '1')
    })
  })

  test('refuses options by name', async () => {
    await assert.rejects(MetadataServer.open({} as never), code('INVALID_OPTION'))
    await scenario({}, async (cluster) => {
      const node = cluster.servers[0] as ServerNode
      const { env, group, machine } = node
      const channel = node.transport.channel('other')
      await assert.rejects(
        MetadataServer.open({ env, group, machine, channel, quotaByte: 5 } as never),
        /did you mean 'quotaBytes'/,
      )
      assert.throws(() => new MetadataClient({ env, channel } as never), code('INVALID_OPTION'))
    })
  })
})

describe('MetadataClient', () => {
  test('malformed requests are refused by name, and the server lives on', async () => {
    await scenario({}, async (cluster) => {
      const leader = await cluster.leader()
      const process = cluster.simulation.process('stranger')
      const env = process.environment
      const transport = await cluster.network.factory(process)({
        env,
        clusterId: 'test',
        self: { nodeId: 'stranger', incarnation: 1, role: 'client' },
        resolve: cluster.network.resolve,
      })
      const rpc = new Rpc({ env, channel: transport.channel('metadata', { traffic: 'control' }) })
      const bodies = [
        utf8(''),
        utf8('nonsense'),
        encodePlain([1, 2]),
        encodePlain([1, 1, 1, [[7, 1, utf8('')]]]),
      ]
      for (const method of Object.values(methods)) {
        for (const body of bodies) {
          const asking = async (): Promise<unknown> => {
            if (method !== methods.watch) return rpc.call(leader.name, method, body)
            return rpc.stream(leader.name, method, body).next()
          }
          const known = code('MALFORMED', 'EPOCH_ENDED', 'FUTURE_REVISION', 'COMPACTED')
          await asking().then(
            () => undefined,
            (error: unknown) => assert.ok(known(error), `${method}: ${String(error)}`),
          )
        }
      }
      await assert.rejects(rpc.call(leader.name, methods.batch, encodePlain([9])), code('PROTOCOL_VERSION'))
      const client = await cluster.client()
      await write(client, 'k', '1')
    })
  })

  test('gets a new client session when its own was forgotten, and writes once', async () => {
    await scenario({ host: { limits: { maximumSessions: 2 } } }, async (cluster) => {
      const clients = [await cluster.client(), await cluster.client(), await cluster.client()]
      const keys = new Map<string, number>()
      for (let i = 0; i < 12; i++)
        keys.set(`k${i}`, await write(clients[i % 3] as MetadataStore, `k${i}`, ''))
      const { entries } = await (clients[0] as MetadataStore).range(everything)
      assert.equal(entries.length, 12)
      for (const entry of entries) {
        assert.equal(entry.version, 1)
        assert.equal(entry.modRevision, keys.get(text(entry.key)))
      }
    })
  })

  test('large answers of one turn come in parts', async () => {
    await scenario({}, async (cluster) => {
      const client = await cluster.client()
      const large = new Uint8Array(400 * 1024).fill(7)
      for (let i = 0; i < 5; i++) await write(client, `k${i}`, large)
      const entries = await Promise.all([0, 1, 2, 3, 4].map(async (i) => client.get(utf8(`k${i}`))))
      for (const entry of entries) assert.equal(entry?.value.length, large.length)
      // Writes whose answers hold the values before.
      await Promise.all([0, 1, 2, 3, 4].map(async (i) => write(client, `k${i}`, large)))
      const again = await client.range(everything, { limit: 5 })
      assert.equal(again.count, 5)
      assert.equal(again.more, true)
      assert.ok(again.entries.length >= 1)
      for (const entry of again.entries) assert.equal(entry.version, 2)
      const events: number[] = []
      for await (const response of client.watch(everything, { fromRevision: 1, previous: true })) {
        if (response.type === 'changes') events.push(response.events.length)
        if (events.length === 10) break
      }
    })
  })

  test('many writes of one turn share a batch and keep their answers apart', async () => {
    await scenario({}, async (cluster) => {
      const client = await cluster.client()
      const revisions = await Promise.all(
        Array.from({ length: 2_500 }, async (_, i) => write(client, `k${i}`, `${i}`)),
      )
      assert.equal(new Set(revisions).size, 2_500)
      const { count } = await client.range(everything, { limit: 1 })
      assert.equal(count, 2_500)
      assert.deepEqual((await client.get(utf8('k77')))?.modRevision, revisions[77])
    })
  })

  test('refuses calls beyond its queue', async () => {
    await scenario({ client: { maximumQueued: 10, callTimeoutMs: 500 } }, async (cluster) => {
      for (const node of cluster.servers) node.crash()
      const client = await cluster.client()
      const outcomes = await Promise.allSettled(
        Array.from({ length: 15 }, async (_, i) => write(client, `k${i}`, '')),
      )
      const codes = outcomes.map((each) =>
        each.status === 'rejected' ? (each.reason as KeelsonError).code : 'ok',
      )
      assert.deepEqual(codes.filter((each) => each === 'OVERLOADED').length, 5)
      assert.deepEqual(codes.filter((each) => each === 'TIMEOUT').length, 10)
    })
  })

  test('an abort says whether the write may have taken effect', async () => {
    await scenario({}, async (cluster) => {
      const client = await cluster.client()
      await write(client, 'k', '1')
      for (const node of cluster.servers) node.process.pause()
      const controller = new AbortController()
      const sent = client.txn({ then: [put('k', '2')] }, { signal: controller.signal })
      await cluster.sleep(100)
      controller.abort()
      await assert.rejects(
        sent,
        (error) => KeelsonError.hasCode(error, 'ABORTED') && error.outcome === 'unknown',
      )
      const early = new AbortController()
      const unsent = client.txn({ then: [put('k', '3')] }, { signal: early.signal })
      early.abort()
      await assert.rejects(
        unsent,
        (error) => KeelsonError.hasCode(error, 'ABORTED') && error.outcome === 'none',
      )
    })
  })

  test('a leader that is silent costs an election and no timeout more', async () => {
    await scenario({}, async (cluster) => {
      const client = await cluster.client()
      await write(client, 'k', '1')
      const leader = await cluster.leader()
      // A first silence, so that followers and client have heard of the leader lately.
      await cluster.sleep(1_000)
      leader.process.pause({ suspend: false })
      const fromMs = cluster.simulation.nowMs
      const [revision, { entries }] = await Promise.all([
        write(client, 'k', '2'),
        client.range({ key: utf8('k') }),
      ])
      const tookMs = cluster.simulation.nowMs - fromMs
      // An attempt alone would wait for a second, and after it for as long as chance says.
      assert.ok(tookMs < 900, `${tookMs} ms`)
      assert.equal(entries.length, 1)
      leader.process.resume()
      await cluster.converged()
      const { entries: now } = await client.range({ key: utf8('k') })
      assert.deepEqual([now[0]?.version, now[0]?.modRevision], [2, revision], 'it took effect once')
    })
  })

  test('a leader that is slow, while nobody else leads, is waited for', async () => {
    await scenario({ servers: 1 }, async (cluster) => {
      const client = await cluster.client()
      await write(client, 'k', '1')
      const only = await cluster.leader()
      only.process.pause({ suspend: false })
      const writing = write(client, 'k', '2')
      await cluster.sleep(700)
      only.process.resume()
      const revision = await writing
      const { entries } = await client.range({ key: utf8('k') })
      assert.deepEqual([entries[0]?.version, entries[0]?.modRevision], [2, revision])
    })
  })

  test('an outage does not make it ask more, and all goes on after it', async () => {
    await scenario({ client: { callTimeoutMs: 60_000 } }, async (cluster) => {
      let asked = 0
      const { call } = Rpc.prototype
      Rpc.prototype.call = async function (this: Rpc, ...args: Parameters<Rpc['call']>) {
        asked++
        return call.apply(this, args)
      }
      try {
        const client = await cluster.client()
        await write(client, 'k', '1')
        for (const node of cluster.servers) node.crash()
        asked = 0
        const writing = Promise.all(Array.from({ length: 100 }, async (_, i) => write(client, `k${i}`, '')))
        await cluster.sleep(20_000)
        assert.ok(asked > 10 && asked < 150, `${asked} attempts of 100 calls in 20 s`)
        for (const node of cluster.servers) await node.restart()
        assert.equal((await writing).length, 100)
      } finally {
        Rpc.prototype.call = call
      }
    })
  })
})
