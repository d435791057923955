import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '../../src/core/bytes.ts'
import { type ErrorCode, KeelsonError } from '../../src/core/errors.ts'
import type { MetadataStore } from '../../src/interfaces/metadata-store.ts'
import type { WantedRange } from '../../src/interfaces/range-host.ts'
import {
  ControllerEpoch,
  DirectoryCache,
  decodeRangeDescriptor,
  decodeWantedRange,
  encodeRangeDescriptor,
  encodeWantedRange,
  memoryStore,
  RangeDirectory,
} from '../../src/metadata/index.ts'
import { RangesOnNodes } from '../../src/metadata/ranges-on-nodes.ts'
import type { RangeDescriptor, ReplicaDescriptor, ReplicaRole } from '../../src/model/descriptors.ts'
import { until } from '../../src/testing/index.ts'
import { VirtualTime } from './support/virtual-environment.ts'

function code(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => KeelsonError.hasCode(error, ...codes)
}

function replicas(...nodes: string[]): ReplicaDescriptor[] {
  return nodes.map((nodeId, i) => ({ replicaId: i + 1, nodeId, incarnation: 7, role: 'voter' }))
}

function range(rangeId: number, start: string, end: string | undefined, generation = 1): RangeDescriptor {
  return {
    rangeId,
    start: utf8(start),
    end: end === undefined ? undefined : utf8(end),
    generation,
    replicas: replicas('n1', 'n2', 'n3'),
  }
}

async function setUp(): Promise<{
  readonly env: ReturnType<VirtualTime['environment']>
  readonly store: MetadataStore
  readonly directory: RangeDirectory
  readonly epoch: ControllerEpoch
}> {
  const env = new VirtualTime().environment()
  const store = memoryStore({ env })
  const epoch = await ControllerEpoch.acquire(store, 'placement', 'cp1')
  return { env, store, directory: new RangeDirectory(store), epoch }
}

describe('RangeDirectory', () => {
  test('creates ranges that tile a span', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(2, 'm', 'z'), range(1, 'a', 'm')])
    assert.deepEqual(
      (await directory.list()).map((each) => each.rangeId),
      [1, 2],
    )
    assert.deepEqual(await directory.get(1), range(1, 'a', 'm'))
    assert.equal(await directory.get(9), undefined)
  })

  test('refuses gaps, overlaps, taken spans and taken ids', async () => {
    const { directory, epoch } = await setUp()
    const refused: [RangeDescriptor[], ErrorCode][] = [
      [[], 'INVALID_ARGUMENT'],
      [[range(1, 'a', 'c'), range(2, 'd', 'e')], 'INVALID_ARGUMENT'],
      [[range(1, 'a', 'c'), range(2, 'b', 'e')], 'INVALID_ARGUMENT'],
      [[range(1, 'a', undefined), range(2, 'b', 'e')], 'INVALID_ARGUMENT'],
      [[range(1, 'a', 'b'), range(1, 'b', 'c')], 'INVALID_ARGUMENT'],
      [[range(1, 'b', 'a')], 'INVALID_ARGUMENT'],
      [[{ ...range(1, 'a', 'b'), replicas: replicas('n1', 'n1') }], 'INVALID_ARGUMENT'],
      [[range(1, 'a', 'b', 0)], 'INVALID_ARGUMENT'],
    ]
    for (const [ranges, expected] of refused)
      await assert.rejects(directory.create(epoch, ranges), code(expected))
    await directory.create(epoch, [range(1, 'b', 'd')])
    await assert.rejects(directory.create(epoch, [range(2, 'a', 'c')]), code('CONFLICT'))
    await assert.rejects(directory.create(epoch, [range(2, 'c', undefined)]), code('CONFLICT'))
    await assert.rejects(directory.create(epoch, [range(1, 'x', 'y')]), code('CONFLICT'))
    await directory.create(epoch, [range(2, 'a', 'b')])
    await directory.create(epoch, [range(3, 'd', undefined)])
    assert.equal((await directory.list()).length, 3)
  })

  test('two creators of one span: one wins', async () => {
    const { directory, epoch } = await setUp()
    const outcomes = await Promise.allSettled([
      directory.create(epoch, [range(1, 'a', 'm')]),
      directory.create(epoch, [range(2, 'b', 'c')]),
    ])
    assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1)
    assert.equal((await directory.list()).length, 1)
  })

  test('projects only what is newer, within the same bounds', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm', 3)])
    const next = { ...range(1, 'a', 'm', 5), replicas: replicas('n1', 'n2', 'n4') }
    assert.equal(await directory.project(epoch, next), true)
    assert.equal(await directory.project(epoch, next), false)
    assert.equal(await directory.project(epoch, range(1, 'a', 'm', 4)), false)
    assert.deepEqual(await directory.get(1), next)
    await assert.rejects(directory.project(epoch, range(1, 'a', 'n', 6)), code('INVALID_ARGUMENT'))
    await assert.rejects(directory.project(epoch, range(2, 'a', 'm', 6)), code('NOT_FOUND'))
  })

  test('projects a range on its way from one set of voters to another, but creates none', async () => {
    const { directory, epoch } = await setUp()
    const joint = range(1, 'a', 'm', 4)
    const [first, second, third] = replicas('n1', 'n2', 'n3')
    const passing = [
      { ...first, role: 'outgoing' },
      { ...second, role: 'demoting' },
      { ...third, role: 'incoming' },
    ] as ReplicaDescriptor[]
    await assert.rejects(directory.create(epoch, [{ ...joint, replicas: passing }]), code('INVALID_ARGUMENT'))
    await directory.create(epoch, [range(1, 'a', 'm', 3)])
    assert.equal(await directory.project(epoch, { ...joint, replicas: passing }), true)
    assert.deepEqual((await directory.get(1))?.replicas, passing)
    const next = range(1, 'a', 'm', 5)
    await assert.rejects(
      directory.project(epoch, { ...next, replicas: [{ ...first, role: 'boss' } as never] }),
      code('INVALID_ARGUMENT'),
    )
  })

  test('projections that race end with the highest generation', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm', 1)])
    const generations = [4, 2, 6, 3, 5]
    await Promise.all(generations.map((each) => directory.project(epoch, range(1, 'a', 'm', each))))
    assert.equal((await directory.get(1))?.generation, 6)
  })

  test('a stale controller changes nothing', async () => {
    const { store, directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm')])
    await ControllerEpoch.acquire(store, 'placement', 'cp2')
    await assert.rejects(directory.create(epoch, [range(2, 'm', 'z')]), code('STALE_EPOCH'))
    await assert.rejects(directory.project(epoch, range(1, 'a', 'm', 2)), code('STALE_EPOCH'))
    await assert.rejects(directory.want(epoch, 1, { type: 'promote', replicaId: 2 }), code('STALE_EPOCH'))
    assert.equal((await directory.get(1))?.generation, 1)
  })

  test('tells a node which of its stores is meant, as long as it is a member', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm', 3)], {
      bootstrap: () => 'n2',
      stores: () => [['n1', 's1']],
    })
    const told = async (): Promise<(string | undefined)[]> =>
      Promise.all(['n1', 'n2', 'n4'].map(async (node) => (await directory.wantedFor(node))[0]?.storeId))
    assert.deepEqual(await told(), ['s1', undefined, undefined])
    await directory.want(epoch, 1, { type: 'addLearner', nodeId: 'n4', incarnation: 9, storeId: 's2' })
    assert.deepEqual(await told(), ['s1', undefined, 's2'])
    // The wish is over, and the node may not have made its replica yet.
    const grown = { ...range(1, 'a', 'm', 4), replicas: replicas('n1', 'n2', 'n3', 'n4') }
    await directory.project(epoch, grown)
    assert.deepEqual(await told(), ['s1', undefined, 's2'])
    await directory.project(epoch, { ...grown, generation: 5, replicas: grown.replicas.slice(1) })
    assert.deepEqual(await told(), [undefined, undefined, 's2'])
    // It comes again, and may go where it likes.
    await directory.want(epoch, 1, { type: 'addLearner', nodeId: 'n1', incarnation: 9 })
    assert.deepEqual(await told(), [undefined, undefined, 's2'])
  })

  test('tells all nodes that a change concerns, in one revision', async () => {
    const { store, directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm', 3)], { bootstrap: () => 'n2' })
    const told = async (node: string): Promise<WantedRange | undefined> =>
      (await directory.wantedFor(node))[0]
    assert.deepEqual(
      [(await told('n1'))?.bootstrap, (await told('n2'))?.bootstrap, (await told('n3'))?.bootstrap],
      [false, true, false],
    )
    const change = { type: 'addLearner', nodeId: 'n4', incarnation: 9, storeId: 's2' } as const
    await assert.rejects(
      directory.want(epoch, 1, change, { expectedGeneration: 7 }),
      code('STALE_GENERATION'),
      'decided on another generation than the directory knows',
    )
    assert.equal(await directory.want(epoch, 1, change), true)
    assert.equal(await directory.want(epoch, 1, change), false)
    const guarded = { ...change, generation: 3, epoch: epoch.number }
    const revisions = new Set<number>()
    for (const node of ['n1', 'n2', 'n3', 'n4']) {
      const wanted = await told(node)
      assert.deepEqual(wanted?.change, guarded)
      assert.equal(wanted?.member, true)
      assert.equal(wanted?.bootstrap, false)
      revisions.add((await store.get(utf8(`/wanted/${node}/0000000000000001`)))?.modRevision ?? 0)
    }
    assert.equal(revisions.size, 1)
    // The range carried it out, and later let n1 go.
    const grown = { ...range(1, 'a', 'm', 4), replicas: replicas('n1', 'n2', 'n3', 'n4') }
    await directory.project(epoch, grown)
    assert.equal((await told('n4'))?.change, undefined)
    assert.equal((await told('n4'))?.descriptor.generation, 4)
    const shrunk = { ...grown, generation: 5, replicas: grown.replicas.slice(1) }
    await directory.project(epoch, shrunk)
    assert.equal((await told('n1'))?.member, false)
    assert.equal((await told('n2'))?.member, true)
    assert.equal(await directory.forget(epoch, 'n2', 1), false)
    assert.equal(await directory.forget(epoch, 'n1', 1), true)
    assert.equal(await told('n1'), undefined)
    // Later news do not reach a node that was forgotten.
    await directory.want(epoch, 1, { type: 'transferLease', replicaId: 3 })
    assert.equal(await told('n1'), undefined)
  })

  test('a node watches the whole of what is wanted of it', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm'), range(2, 'm', 'z')], { bootstrap: () => 'n1' })
    const pictures: string[] = []
    for await (const wanted of directory.watchWanted('n1')) {
      pictures.push(wanted.map((each) => `${each.rangeId}:${each.descriptor.generation}`).join(' '))
      if (pictures.length === 1) await directory.project(epoch, range(2, 'm', 'z', 2))
      if (pictures.length === 2) break
    }
    assert.deepEqual(pictures, ['1:1 2:1', '1:1 2:2'])
  })

  test('a watch survives a compaction', async () => {
    const { store, directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm')])
    const seen: string[] = []
    for await (const event of directory.watch()) {
      if (event.type === 'snapshot') seen.push(`snapshot ${event.ranges[0]?.generation}`)
      else seen.push(`changes ${event.updated[0]?.generation}`)
      if (seen.length === 3) break
      if (seen.length === 1) {
        // Before the watch behind the snapshot starts.
        await directory.project(epoch, range(1, 'a', 'm', 2))
        const { revision } = await store.range({ key: utf8('x') })
        await store.txn({ then: [{ type: 'put', key: utf8('other'), value: utf8('') }] })
        await store.compact(revision + 1)
      } else await directory.project(epoch, range(1, 'a', 'm', 3))
    }
    assert.deepEqual(seen, ['snapshot 1', 'snapshot 2', 'changes 3'])
  })
})

describe('DirectoryCache', () => {
  test('follows the directory and never goes back', async () => {
    const { env, directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm'), range(2, 'm', undefined)])
    await using cache = new DirectoryCache({ env, directory })
    await cache.ready()
    assert.equal(cache.lookup(utf8('b'))?.rangeId, 1)
    assert.equal(cache.lookup(utf8('q'))?.rangeId, 2)
    assert.equal(cache.lookup(utf8('A')), undefined)
    // A range says more than the directory knows so far.
    assert.equal(cache.update(range(1, 'a', 'm', 5)), true)
    const changes: number[] = []
    cache.on('change', (updated) => changes.push(...updated.map((each) => each.generation)))
    await directory.project(epoch, range(1, 'a', 'm', 4))
    await directory.project(epoch, range(2, 'm', undefined, 2))
    await until(env, 'the second range', () => cache.byId(2)?.generation === 2)
    assert.equal(cache.lookup(utf8('b'))?.generation, 5)
    assert.equal(cache.byId(1)?.generation, 5)
    assert.deepEqual(changes, [2])
  })

  test('knows the ranges on nodes, and looks at all of them only for nodes it was not asked for before', () => {
    const nodes = ['n1', 'n2', 'n3', 'n4', 'n5']
    const some = fc.uniqueArray(fc.constantFrom(...nodes), { minLength: 1, maxLength: 3 })
    const step = fc.record({ rangeId: fc.integer({ min: 1, max: 6 }), on: fc.option(some), ask: some })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const index = new RangesOnNodes()
        const all = new Map<number, RangeDescriptor>()
        const asked = new Set<string>()
        let looks = 0
        for (const { rangeId, on, ask } of steps) {
          const after = on === null ? undefined : { ...range(rangeId, 'a', 'm'), replicas: replicas(...on) }
          index.changed(all.get(rangeId), after)
          if (after === undefined) all.delete(rangeId)
          else all.set(rangeId, after)
          const before = looks
          const found = index.read(ask, () => {
            looks++
            return all.values()
          })
          const expected = [...all.values()].filter((each) =>
            each.replicas.some(({ nodeId }) => ask.includes(nodeId)),
          )
          assert.deepEqual(
            found,
            expected.map((each) => each.rangeId).sort((a, b) => a - b),
          )
          assert.equal(looks - before, ask.some((nodeId) => !asked.has(nodeId)) ? 1 : 0)
          for (const nodeId of ask) asked.add(nodeId)
        }
      }),
    )
  })

  test('keeps the ranges on nodes up to date', async () => {
    const { env, directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm'), range(2, 'm', undefined)])
    await using cache = new DirectoryCache({ env, directory })
    await cache.ready()
    const on = (...nodeIds: string[]): number[] => cache.rangesOn(nodeIds).map(({ rangeId }) => rangeId)
    assert.deepEqual([on('n1'), on('n4'), on('n1', 'n4')], [[1, 2], [], [1, 2]])
    cache.update({ ...range(1, 'a', 'm', 5), replicas: replicas('n2', 'n4') })
    assert.deepEqual([on('n1'), on('n4')], [[2], [1]])
    await directory.project(epoch, { ...range(2, 'm', undefined, 2), replicas: replicas('n4') })
    await until(env, 'the second range', () => cache.byId(2)?.generation === 2)
    assert.deepEqual([on('n1'), on('n4')], [[], [1, 2]])
  })

  test('says when it cannot follow any more, and keeps what it knows', async () => {
    const { env, store, directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'm')])
    const cache = new DirectoryCache({ env, directory })
    await cache.ready()
    await cache.close()
    assert.equal(cache.lookup(utf8('b'))?.rangeId, 1)
    await store.close()
    const late = new DirectoryCache({ env, directory })
    await assert.rejects(late.ready(), code('CLOSED'))
    await late.close()
  })
})

describe('directory records', () => {
  const plain = { noNullPrototype: true } as const
  const descriptors: fc.Arbitrary<RangeDescriptor> = fc.record(
    {
      rangeId: fc.integer({ min: 1 }),
      start: fc.uint8Array({ maxLength: 9 }),
      end: fc.option(fc.uint8Array({ maxLength: 9 }), { nil: undefined }),
      generation: fc.maxSafeNat(),
      replicas: fc.array(
        fc.record(
          {
            replicaId: fc.nat(),
            nodeId: fc.string(),
            incarnation: fc.maxSafeNat(),
            role: fc.constantFrom('voter', 'learner', 'incoming', 'outgoing', 'demoting'),
          },
          plain,
        ),
        { maxLength: 5 },
      ),
    },
    plain,
  )
  const guard = { generation: fc.nat(), epoch: fc.nat() }
  const changes = fc.oneof(
    fc.record(
      { type: fc.constant('addLearner' as const), nodeId: fc.string(), incarnation: fc.nat(), ...guard },
      plain,
    ),
    fc.record(
      {
        type: fc.constant('addLearner' as const),
        nodeId: fc.string(),
        incarnation: fc.nat(),
        storeId: fc.string(),
        ...guard,
      },
      plain,
    ),
    fc.record(
      {
        type: fc.constantFrom('promote' as const, 'remove' as const, 'transferLease' as const),
        replicaId: fc.nat(),
        ...guard,
      },
      plain,
    ),
    fc.record({ type: fc.constant('swap' as const), promote: fc.nat(), remove: fc.nat(), ...guard }, plain),
    fc.record(
      {
        type: fc.constant('split' as const),
        key: fc.uint8Array({ maxLength: 9 }),
        rightRangeId: fc.nat(),
        ...guard,
      },
      plain,
    ),
    fc.record(
      { type: fc.constant('freeze' as const), into: fc.nat(), intoGeneration: fc.nat(), ...guard },
      plain,
    ),
    fc.record(
      { type: fc.constant('merge' as const), rightRangeId: fc.nat(), rightGeneration: fc.nat(), ...guard },
      plain,
    ),
    fc.record({ type: fc.constantFrom('thaw' as const, 'touch' as const), ...guard }, plain),
  )

  test('come back as they were', () => {
    fc.assert(
      fc.property(
        descriptors,
        fc.option(changes, { nil: undefined }),
        fc.boolean(),
        fc.option(fc.string(), { nil: undefined }),
        (descriptor, change, member, storeId) => {
          assert.deepEqual(decodeRangeDescriptor(encodeRangeDescriptor(descriptor)), descriptor)
          const base = {
            rangeId: descriptor.rangeId,
            descriptor,
            member,
            bootstrap: !member,
            ...(storeId === undefined ? {} : { storeId }),
          }
          const wanted = change === undefined ? base : { ...base, change }
          assert.deepEqual(decodeWantedRange(encodeWantedRange(wanted)), wanted)
        },
      ),
    )
  })

  test('are read as every release has written them', () => {
    const members = (...roles: ReplicaRole[]): ReplicaDescriptor[] =>
      roles.map((role, i) => ({ replicaId: i + 1, nodeId: `n${i + 1}`, incarnation: 7, role }))
    const first = { ...range(3, 'a', 'm', 4), replicas: members('voter', 'learner') }
    const joint = {
      ...range(3, 'a', 'm', 5),
      replicas: members('voter', 'incoming', 'outgoing', 'demoting', 'learner'),
    }
    const promote = { type: 'promote', replicaId: 2, generation: 4, epoch: 9 } as const
    const swap = { type: 'swap', promote: 2, remove: 1, generation: 4, epoch: 9 } as const
    const wanted = { rangeId: 3, descriptor: first, member: true, bootstrap: false }
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
    const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))
    for (const [descriptor, text] of [
      [first, '92019503c40161c4016d04929401a26e3107009402a26e320701'],
      [
        joint,
        '92029503c40161c4016d05959401a26e3107009402a26e3207029403a26e3307039404a26e3407049405a26e350701',
      ],
    ] as const) {
      assert.equal(hex(encodeRangeDescriptor(descriptor)), text)
      assert.deepEqual(decodeRangeDescriptor(bytes(text)), descriptor)
    }
    for (const [change, text] of [
      [promote, '95019503c40161c4016d04929401a26e3107009402a26e320701c3c29401040902'],
      [swap, '95029503c40161c4016d04929401a26e3107009402a26e320701c3c2950404090201'],
    ] as const) {
      assert.equal(hex(encodeWantedRange({ ...wanted, change })), text)
      assert.deepEqual(decodeWantedRange(bytes(text)), { ...wanted, change })
      // A store stands behind what older releases read.
      const meant = { ...wanted, change, storeId: 's2' }
      assert.equal(hex(encodeWantedRange(meant)), `96${text.slice(2)}a27332`)
      assert.deepEqual(decodeWantedRange(bytes(`96${text.slice(2)}a27332`)), meant)
    }
  })

  test('refuse damage by name', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        for (const decode of [decodeRangeDescriptor, decodeWantedRange]) {
          try {
            decode(bytes)
          } catch (error) {
            assert.ok(KeelsonError.hasCode(error, 'MALFORMED', 'FORMAT_VERSION'))
          }
        }
      }),
    )
  })
})
