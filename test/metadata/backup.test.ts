import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ByteWriter, text, utf8 } from '../../src/core/bytes.ts'
import { crc32 } from '../../src/core/checksum.ts'
import type { Environment } from '../../src/core/environment.ts'
import { type ErrorCode, KeelsonError } from '../../src/core/errors.ts'
import type { MetadataStore } from '../../src/interfaces/metadata-store.ts'
import {
  abandonImport,
  everything,
  exportBackup,
  importBackup,
  memoryStore,
  pendingImport,
} from '../../src/metadata/index.ts'
import { MetadataCluster } from './support/cluster.ts'
import { VirtualTime } from './support/virtual-environment.ts'

function code(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => KeelsonError.hasCode(error, ...codes)
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return parts
}

async function filled(env: Environment = new VirtualTime().environment()): Promise<MetadataStore> {
  const store = memoryStore({ env })
  for (let i = 0; i < 40; i++) {
    const key = utf8(`k${String(i).padStart(3, '0')}`)
    await store.txn({ then: [{ type: 'put', key, value: new Uint8Array(40_000).fill(i) }] })
  }
  return store
}

describe('backup', () => {
  test('shows one revision, without the keys of sessions, and comes back whole', async () => {
    const store = await filled()
    const session = await store.grantSession('n1', 10_000)
    const { revision } = await store.txn({
      then: [{ type: 'put', key: utf8('s'), value: utf8(''), session }],
    })
    const chunks: Uint8Array[] = []
    for await (const chunk of exportBackup(store)) {
      chunks.push(chunk)
      // What happens meanwhile is not in it.
      await store.txn({ then: [{ type: 'put', key: utf8('later'), value: utf8(`${chunks.length}`) }] })
    }
    const copy = memoryStore({ env: new VirtualTime().environment() })
    assert.deepEqual(await importBackup(copy, chunks), { revision, keys: 40 })
    const { entries, count } = await copy.range(everything, { limit: 10 })
    assert.equal(count, 40)
    assert.deepEqual(entries[9]?.value, new Uint8Array(40_000).fill(9))
    assert.equal(await copy.get(utf8('later')), undefined)
    await store.close()
    // Twice does no harm.
    await importBackup(copy, chunks)
    assert.equal((await copy.range(everything, { limit: 1 })).count, 40)
  })

  test('leaves out what belongs to the cluster itself, also where an earlier release had it in', async () => {
    const store = memoryStore({ env: new VirtualTime().environment() })
    const own = ['/cluster/founding', '/servers/cp1', '/epochs/control-plane']
    const paths = [...own, '/clusters', '/nodes/a']
    await store.txn({ then: paths.map((path) => ({ type: 'put', key: utf8(path), value: utf8('old') })) })
    const chunks = await collect(exportBackup(store))
    const seal = (chunk: ByteWriter): Uint8Array =>
      chunk.patchU32(0, crc32(chunk.view().subarray(4))).finish()
    const begun = (kind: number): ByteWriter => new ByteWriter(256).u32(0).u8(1).u8(kind)
    const entries = begun(2)
    for (const path of paths) entries.bytes(utf8(path)).bytes(utf8('old'))
    const earlier = [chunks[0] as Uint8Array, seal(entries), seal(begun(3).varint(paths.length))]
    for (const backup of [chunks, earlier]) {
      const copy = memoryStore({ env: new VirtualTime().environment() })
      await copy.txn({ then: own.map((path) => ({ type: 'put', key: utf8(path), value: utf8('new') })) })
      await importBackup(copy, backup)
      // Whoever controlled something has read what is not true any more.
      assert.equal(await copy.get(utf8('/epochs/control-plane')), undefined)
      const found = (await copy.range(everything)).entries.map(({ key, value }) => [text(key), text(value)])
      assert.deepEqual(
        new Map(found as [string, string][]),
        new Map([
          ...own.slice(0, 2).map((path) => [path, 'new'] as const),
          ['/clusters', 'old'],
          ['/nodes/a', 'old'],
        ]),
      )
    }
  })

  test('sets back nothing that counts', async () => {
    const store = memoryStore({ env: new VirtualTime().environment() })
    const counted = ['/ranges/last-id', '/jobs/last', '/schema/last-id', '/leases/sequences/L']
    const put = async (to: MetadataStore, value: string): Promise<void> => {
      await to.txn({ then: counted.map((path) => ({ type: 'put', key: utf8(path), value: utf8(value) })) })
    }
    await put(store, '7')
    const chunks = await collect(exportBackup(store))
    const copy = memoryStore({ env: new VirtualTime().environment() })
    const values = async (): Promise<string[]> =>
      (await copy.range(everything)).entries.map(({ value }) => text(value))
    await importBackup(copy, chunks)
    assert.deepEqual(await values(), ['7', '7', '7', '7'])
    await put(copy, '8')
    await importBackup(copy, chunks)
    assert.deepEqual(await values(), ['8', '8', '8', '8'])
  })

  test('leaves a mark until all of it is there, which another backup does not take over', async () => {
    const store = await filled()
    const chunks = await collect(exportBackup(store))
    const { revision } = await store.txn({ then: [{ type: 'put', key: utf8('k'), value: utf8('') }] })
    const later = await collect(exportBackup(store))
    const copy = memoryStore({ env: new VirtualTime().environment() })
    assert.equal(await pendingImport(copy), undefined)
    const cut = chunks.slice(0, -1)
    await assert.rejects(importBackup(copy, cut), code('CORRUPTION'))
    assert.deepEqual(await pendingImport(copy), { revision: revision - 1 })
    await assert.rejects(importBackup(copy, later), (error: unknown) => {
      assert.ok(KeelsonError.hasCode(error, 'CONFLICT'))
      assert.deepEqual([error.retryable, error.details], [false, { begun: revision - 1, revision }])
      return true
    })
    await importBackup(copy, chunks)
    assert.equal(await pendingImport(copy), undefined)
    // Complete, so another one may come.
    await assert.rejects(importBackup(copy, later.slice(0, -1)), code('CORRUPTION'))
    await assert.rejects(abandonImport(copy, { acceptDataLoss: false as true }), (error: unknown) =>
      KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
    )
    assert.equal(await abandonImport(copy, { acceptDataLoss: true }), true)
    assert.equal(await abandonImport(copy, { acceptDataLoss: true }), false)
    assert.equal(await pendingImport(copy), undefined)
  })

  test('an import stops when another one begins, and when it is abandoned', async () => {
    const chunks = await collect(exportBackup(await filled()))
    const copy = memoryStore({ env: new VirtualTime().environment() })
    async function* interrupted(meanwhile: () => Promise<unknown>): AsyncIterable<Uint8Array> {
      for (const [i, chunk] of chunks.entries()) {
        yield chunk
        if (i === 1) await meanwhile()
      }
    }
    const made = { type: 'put', key: utf8('k039'), value: utf8('made since') } as const
    const finished = async (): Promise<void> => {
      await importBackup(copy, chunks)
      await copy.txn({ then: [made] })
    }
    await assert.rejects(importBackup(copy, interrupted(finished)), code('CONFLICT'))
    assert.deepEqual((await copy.get(made.key))?.value, made.value)
    const abandoned = (): Promise<unknown> => abandonImport(copy, { acceptDataLoss: true })
    await assert.rejects(importBackup(copy, interrupted(abandoned)), code('CONFLICT'))
    assert.deepEqual((await copy.get(made.key))?.value, made.value)
  })

  test('refuses what is damaged, cut or out of order', async () => {
    const chunks = await collect(exportBackup(await filled()))
    const copy = (): MetadataStore => memoryStore({ env: new VirtualTime().environment() })
    await assert.rejects(importBackup(copy(), chunks.slice(0, -1)), code('CORRUPTION'))
    await assert.rejects(importBackup(copy(), chunks.slice(1)), code('CORRUPTION'))
    await assert.rejects(
      importBackup(copy(), [...chunks.slice(0, 2), ...chunks.slice(3)]),
      code('CORRUPTION'),
    )
    await assert.rejects(importBackup(copy(), [...chunks, ...chunks]), code('CORRUPTION'))
    await assert.rejects(importBackup(copy(), []), code('CORRUPTION'))
    for (let i = 0; i < chunks.length; i++) {
      const damaged = chunks.map((chunk) => chunk.slice())
      const chunk = damaged[i] as Uint8Array
      chunk[chunk.length - 1] = (chunk[chunk.length - 1] as number) ^ 1
      await assert.rejects(importBackup(copy(), damaged), code('CORRUPTION'))
      await assert.rejects(
        importBackup(copy(), [...chunks.slice(0, i), utf8('x')]),
        code('CORRUPTION', 'MALFORMED'),
      )
    }
  })

  test('a new cluster takes the place of a lost one beyond all its revisions', async () => {
    const cluster = new MetadataCluster()
    await cluster.run(async () => {
      const chunks = await collect(exportBackup(await filled(cluster.observer)))
      await cluster.start()
      const leader = await cluster.leader()
      const client = await cluster.client()
      await client.txn({ then: [{ type: 'put', key: utf8('a'), value: utf8('') }] })
      await assert.rejects(leader.server.advance(1_000_000), code('CONFLICT'))
      await client.txn({ then: [{ type: 'delete', select: { key: utf8('a') } }] })
      await leader.server.advance(1_000_000)
      await leader.server.advance(5)
      assert.equal((await client.range(everything)).revision, 1_000_000)
      await importBackup(client, chunks)
      const { entries } = await client.range(everything, { limit: 1 })
      assert.equal(entries[0] === undefined ? '' : text(entries[0].key), 'k000')
      assert.ok((entries[0]?.createRevision ?? 0) > 1_000_000)
      await assert.rejects(client.get(utf8('k000'), { revision: 2 }), code('COMPACTED'))
      await cluster.converged()
      for (const node of cluster.servers) await node.machine.verify()
      assert.equal(new Set(cluster.servers.map((node) => node.machine.digest())).size, 1)
      // It outlives a restart.
      const [follower] = await cluster.followers()
      follower?.crash()
      await follower?.restart()
      await cluster.converged()
      assert.equal(new Set(cluster.servers.map((node) => node.machine.digest())).size, 1)
    })
  })
})
