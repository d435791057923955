import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import { type LogRecord, recordLogger } from '../../src/core/logger.ts'
import { SeededRandom } from '../../src/core/random.ts'
import { bootstrap, ControlPlane, nodeEnvironment, PlaneClient, utf8 } from '../../src/index.ts'
import type { Channel, Transport } from '../../src/interfaces/transport.ts'
import { methods } from '../../src/metadata/protocol.ts'
import { MemoryLevel, memoryLog } from '../../src/storage/memory/index.ts'
import { until } from '../../src/testing/index.ts'
import { memoryNetwork } from '../../src/transport/memory/index.ts'
import { Rpc } from '../../src/transport/rpc.ts'
import { decoders } from '../bad-input/decoders.ts'

const env = nodeEnvironment()
const random = new SeededRandom(1)
const samples = decoders.flatMap((decoder) => decoder.samples)

/** What some decoder reads, with a few bytes changed, cut short, or nothing of the kind. */
function* junk(): Iterable<Uint8Array> {
  for (const sample of samples) {
    yield sample
    for (let i = 0; i < 3; i++) {
      const changed = sample.slice(0, random.integer(4) === 0 ? random.integer(sample.length + 1) : undefined)
      for (let at = 0; at < 3 && changed.length > 0; at++) {
        changed[random.integer(changed.length)] = random.integer(256)
      }
      yield changed
    }
    yield random.bytes(random.integer(200))
  }
}

/** With every byte in turn made another one, or raised by one. */
function* changed(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at++) {
    for (const value of [random.integer(256), ((bytes[at] as number) + 1) & 0xff]) {
      const copy = bytes.slice()
      copy[at] = value
      yield copy
    }
  }
}

suite('a server that a peer of its cluster sends anything', () => {
  const network = memoryNetwork()
  const records: LogRecord[] = []
  let server: ControlPlane
  let client: PlaneClient
  let evil: Transport
  const channels = new Map<string, Channel>()

  before(async () => {
    const database = new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
    await database.open()
    server = await ControlPlane.open({
      env: nodeEnvironment({ logger: recordLogger((record) => records.push(record)) }),
      clusterId: 'c',
      nodeId: 'cp1',
      cluster: bootstrap({ secret: 'a secret of many characters' }),
      transport: network.transport(),
      log: memoryLog(),
      database,
    })
    await until(env, 'it leads', () => server.duties !== undefined)
    client = await PlaneClient.connect({
      env,
      clusterId: 'c',
      seeds: [...network.resolve('cp1')],
      transport: network.transport(),
    })
    evil = await network.transport()({
      env,
      clusterId: 'c',
      self: { nodeId: 'evil', incarnation: 1, role: 'node' },
      resolve: network.resolve,
    })
  })

  after(async () => {
    await evil.close()
    await client.close()
    await server.close()
  })

  /** One for all tests, as a transport has one of each name. */
  function channelOf(protocol: string): Channel {
    const channel = channels.get(protocol) ?? evil.channel(protocol)
    channels.set(protocol, channel)
    return channel
  }

  async function assertServes(what: string): Promise<void> {
    const key = utf8('/a/still')
    await client.store.txn({ then: [{ type: 'put', key, value: utf8(what) }] })
    assert.deepEqual((await client.store.get(key))?.value, utf8(what))
    // That a peer speaks a version nobody here can read is for a person to look at, once.
    const errors = records
      .filter(({ level }) => level === 'error')
      .filter(({ fields }) => !KeelsonError.hasCode(fields['error'], 'PROTOCOL_VERSION'))
    assert.deepEqual(errors, [])
  }

  for (const [channel, called] of [
    ['control', ['servers', 'join-server', 'join-node', 'report']],
    ['metadata', Object.values(methods).filter((method) => method !== methods.watch)],
  ] as const) {
    test(`answers every call on '${channel}' with a result or a refusal that says why`, async () => {
      const rpc = new Rpc({ env, channel: channelOf(channel) })
      let refusals = 0
      for (const method of called) {
        // Undefined for what it did not even read.
        const ask = async (body: Uint8Array): Promise<Uint8Array | undefined> => {
          try {
            await rpc.call('cp1', method, body, { timeoutMs: 10_000 })
          } catch (error) {
            refusals++
            const what = `${method} of ${Buffer.from(body).toString('hex')}: ${String(error)}`
            assert.ok(KeelsonError.is(error), what)
            // What a peer is told of an error that is none of ours.
            assert.ok(error.code !== 'IO' && error.code !== 'INVARIANT_VIOLATED', what)
            assert.ok(error.code !== 'OUTCOME_UNKNOWN' && error.code !== 'TIMEOUT', what)
            if (error.code === 'MALFORMED') return undefined
          }
          return body
        }
        const taken = await Promise.all([...junk()].map(ask))
        let meant = 0
        for (const body of taken) {
          if (body === undefined || ++meant > 10) continue
          await Promise.all([...changed(body)].map(ask))
        }
        assert.ok(meant > 0, `nothing here is meant for ${method}`)
      }
      assert.ok(refusals > samples.length, `${refusals}`)
      await assertServes(channel)
      await rpc.close()
    })
  }

  test('answers every watch with events or a refusal that says why', async () => {
    const rpc = new Rpc({ env, channel: channelOf('metadata') })
    for (const body of junk()) {
      const stop = new AbortController()
      const watch = rpc.stream('cp1', methods.watch, body, { signal: stop.signal })[Symbol.asyncIterator]()
      const first = watch.next().catch((error: unknown) => error)
      await Promise.race([first, new Promise((resolve) => setTimeout(resolve, 20))])
      stop.abort()
      const error = await first
      if (!(error instanceof Error)) continue
      assert.ok(KeelsonError.is(error), String(error))
      assert.ok(error.code !== 'IO' && error.code !== 'INVARIANT_VIOLATED', String(error))
    }
    await assertServes('watch')
    await rpc.close()
  })

  test('drops what makes no sense on any of its channels, and streams that it does not want', async () => {
    for (const protocol of ['raft', 'control', 'metadata', 'swim', 'unheard-of']) {
      const channel = channelOf(protocol)
      for (const bytes of junk()) channel.send('cp1', bytes)
      for (let i = 0; i < 20; i++) {
        try {
          const stream = await channel.openStream('cp1', random.bytes(random.integer(100)))
          await stream.write(random.bytes(1_000))
          await stream.end()
        } catch (error) {
          assert.ok(KeelsonError.is(error), String(error))
        }
      }
      await assertServes(protocol)
    }
  })

  test('does not let a peer of another cluster in, and says so', async () => {
    const stranger = await network.transport()({
      env,
      clusterId: 'other',
      self: { nodeId: 'stranger', incarnation: 1, role: 'node' },
      resolve: () => [],
    })
    const [address] = network.resolve('cp1')
    await assert.rejects(stranger.dial(address as string), { code: 'FOREIGN_CLUSTER', message: /check/ })
    await stranger.close()
    await assertServes('stranger')
  })
})
