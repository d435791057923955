import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '../../src/core/bytes.ts'
import { type ErrorCode, KeelsonError } from '../../src/core/errors.ts'
import type { MetadataStore } from '../../src/interfaces/metadata-store.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../src/metadata/index.ts'
import type { RangeDescriptor, ReplicaDescriptor } from '../../src/model/descriptors.ts'
import { RangeMap } from '../../src/model/range-map.ts'
import { VirtualTime } from './support/virtual-environment.ts'

const code =
  (...codes: ErrorCode[]) =>
  (error: unknown): boolean =>
    KeelsonError.hasCode(error, ...codes)

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
  readonly store: MetadataStore
  readonly directory: RangeDirectory
  readonly epoch: ControllerEpoch
}> {
  const store = memoryStore({ env: new VirtualTime().environment() })
  const epoch = await ControllerEpoch.acquire(store, 'placement', 'cp1')
  return { store, directory: new RangeDirectory(store), epoch }
}

suite('splits and merges in the directory', () => {
  test('a split is one revision for both ranges and all their nodes', async () => {
    const { store, directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, '', undefined, 3)])
    await directory.want(epoch, 1, { type: 'split', key: utf8('m'), rightRangeId: 2 })
    assert.equal(await directory.reserveIds(epoch), 2)
    const left = range(1, '', 'm', 4)
    // The right-hand range has already lost a replica and got another one.
    const right = { ...range(2, 'm', undefined, 6), replicas: replicas('n1', 'n2', 'n4') }
    assert.equal(await directory.split(epoch, left, right), true)
    assert.deepEqual(await directory.list(), [left, right])
    const revisions = new Set<number>()
    for (const [node, id] of [
      ['n1', 1],
      ['n3', 1],
      ['n1', 2],
      ['n4', 2],
    ] as const) {
      const key = utf8(`/wanted/${node}/${String(id).padStart(16, '0')}`)
      revisions.add((await store.get(key))?.modRevision ?? 0)
    }
    for (const id of ['1', '2']) {
      const key = utf8(`/ranges/descriptors/${id.padStart(16, '0')}`)
      revisions.add((await store.get(key))?.modRevision ?? 0)
    }
    assert.equal(revisions.size, 1)
    const wanted = await directory.wantedFor('n1')
    assert.deepEqual(
      wanted.map(({ rangeId, change, member, bootstrap }) => [rangeId, change, member, bootstrap]),
      [
        [1, undefined, true, false],
        [2, undefined, true, false],
      ],
    )
    // n3 is no member of the right-hand range any more; what a late split makes there is taken away.
    assert.equal((await directory.wantedFor('n3')).length, 1)
    assert.equal(await directory.dismiss(epoch, 'n3', 2), true)
    assert.equal(await directory.dismiss(epoch, 'n3', 2), false)
    assert.equal(await directory.dismiss(epoch, 'n1', 2), false)
    assert.deepEqual(
      (await directory.wantedFor('n3')).map(({ rangeId, member }) => [rangeId, member]),
      [
        [1, true],
        [2, false],
      ],
    )
  })

  test('a report that comes twice, or late, changes nothing', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, '', undefined, 3)])
    const [left, right] = [range(1, '', 'm', 4), range(2, 'm', undefined, 4)]
    assert.equal(await directory.split(epoch, left, right), true)
    assert.equal(await directory.split(epoch, left, right), false)
    await directory.project(epoch, range(1, '', 'm', 9))
    await directory.project(epoch, range(2, 'm', undefined, 7))
    assert.equal(await directory.split(epoch, left, right), false)
    assert.equal(await directory.merge(epoch, range(1, '', undefined, 10), 2), true)
    assert.equal(await directory.merge(epoch, range(1, '', undefined, 10), 2), false)
    assert.equal(await directory.split(epoch, left, right), false)
    assert.deepEqual(await directory.list(), [range(1, '', undefined, 10)])
  })

  test('refuses gaps, overlaps, generations that do not grow, and ids that were used', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, 'a', 'z', 3), range(5, 'z', undefined, 3)])
    const refused: [RangeDescriptor, RangeDescriptor, ErrorCode][] = [
      [range(1, 'a', 'm', 4), range(2, 'n', 'z', 4), 'INVALID_ARGUMENT'],
      [range(1, 'a', 'n', 4), range(2, 'm', 'z', 4), 'INVALID_ARGUMENT'],
      [range(1, 'a', 'm', 4), range(2, 'm', 'y', 4), 'INVALID_ARGUMENT'],
      [range(1, 'b', 'm', 4), range(2, 'm', 'z', 4), 'INVALID_ARGUMENT'],
      [range(1, 'a', 'm', 3), range(2, 'm', 'z', 4), 'INVALID_ARGUMENT'],
      [range(1, 'a', 'm', 4), range(2, 'm', 'z', 3), 'INVALID_ARGUMENT'],
      [range(1, 'a', 'm', 4), range(5, 'm', 'z', 4), 'CONFLICT'],
      [range(7, 'a', 'm', 4), range(2, 'm', 'z', 4), 'NOT_FOUND'],
    ]
    for (const [left, right, expected] of refused)
      await assert.rejects(directory.split(epoch, left, right), code(expected))
    const merges: [RangeDescriptor, number, ErrorCode][] = [
      [range(1, 'a', undefined, 3), 5, 'INVALID_ARGUMENT'],
      [range(1, 'a', 'zz', 9), 5, 'INVALID_ARGUMENT'],
      [range(5, 'a', undefined, 9), 1, 'INVALID_ARGUMENT'],
      [range(1, 'a', undefined, 9), 6, 'NOT_FOUND'],
    ]
    for (const [merged, right, expected] of merges)
      await assert.rejects(directory.merge(epoch, merged, right), code(expected))
    await directory.merge(epoch, range(1, 'a', undefined, 4), 5)
    await assert.rejects(
      directory.split(epoch, range(1, 'a', 'm', 5), range(5, 'm', undefined, 5)),
      code('CONFLICT'),
    )
    assert.equal(await directory.reserveIds(epoch), 6)
  })

  test('the nodes of a range that was merged away are told, and forgotten when nothing is left', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(1, '', 'm', 3), range(2, 'm', undefined, 5)], {
      bootstrap: () => 'n1',
    })
    await directory.merge(epoch, range(1, '', undefined, 6), 2)
    const told = async (node: string): Promise<unknown> =>
      (await directory.wantedFor(node)).find(({ rangeId }) => rangeId === 2)?.member
    assert.deepEqual([await told('n1'), await told('n2'), await told('n3')], [false, false, false])
    assert.equal(await directory.dismiss(epoch, 'n9', 2), true)
    assert.equal(await told('n9'), false)
    for (const node of ['n1', 'n2', 'n3', 'n9'])
      assert.equal(await directory.forget(epoch, node, 2), true, node)
    assert.deepEqual(
      (await directory.wantedFor('n1')).map(({ rangeId }) => rangeId),
      [1],
    )
    await assert.rejects(directory.project(epoch, range(2, 'm', undefined, 9)), code('NOT_FOUND'))
    await assert.rejects(directory.want(epoch, 2, { type: 'touch' }), code('NOT_FOUND'))
  })

  test('ids are given out once, and never those of ranges that were made with ids of their own', async () => {
    const { directory, epoch } = await setUp()
    await directory.create(epoch, [range(40, '', 'm')])
    const first = await Promise.all([1, 3, 2].map((count) => directory.reserveIds(epoch, count)))
    const ids = [first[0], first[1], (first[1] as number) + 1, (first[1] as number) + 2, first[2]]
    assert.equal(new Set(ids).size, ids.length)
    assert.ok(Math.min(...(ids as number[])) > 40)
  })

  test('ranges tile the key space whatever is reported, in whatever order', async () => {
    type Step = { readonly kind: 'split' | 'merge' | 'again' | 'project'; readonly at: number }
    const steps = fc.array(
      fc.record<Step>({
        kind: fc.constantFrom('split', 'split', 'merge', 'again', 'project'),
        at: fc.nat({ max: 250 }),
      }),
      { maxLength: 30 },
    )
    await fc.assert(
      fc.asyncProperty(steps, async (given) => {
        const { directory, epoch } = await setUp()
        await directory.create(epoch, [range(1, '', undefined)])
        const routes = new RangeMap(await directory.list())
        const done: (() => Promise<boolean>)[] = []
        for (const { kind, at } of given) {
          const ranges = await directory.list()
          const known = ranges[at % ranges.length] as RangeDescriptor
          const generation = known.generation + 1 + (at % 2)
          let act: (() => Promise<boolean>) | undefined
          if (kind === 'split') {
            const key = Uint8Array.of(at)
            const inside =
              Buffer.compare(known.start, key) < 0 &&
              (known.end === undefined || Buffer.compare(key, known.end) < 0)
            if (inside) {
              const rangeId = await directory.reserveIds(epoch)
              const left = { ...known, end: key, generation }
              const right = { ...known, rangeId, start: key, generation }
              act = () => directory.split(epoch, left, right)
            }
          } else if (kind === 'merge') {
            const next = ranges[(at % ranges.length) + 1]
            if (next !== undefined) {
              const merged = {
                ...known,
                end: next.end,
                generation: Math.max(known.generation, next.generation) + 1,
              }
              act = () => directory.merge(epoch, merged, next.rangeId)
            }
          } else if (kind === 'project') act = () => directory.project(epoch, { ...known, generation })
          else {
            // An old report comes once more: it may be refused, and must change nothing.
            const again = done[at % Math.max(1, done.length)]
            const before = await directory.list()
            await again?.().catch(() => false)
            assert.deepEqual(await directory.list(), before)
          }
          if (act === undefined) continue
          assert.equal(await act(), true)
          done.push(act)
          const now = await directory.list()
          assert.equal(new RangeMap(now).firstGap(), undefined)
          assert.equal(new RangeMap(now).size, now.length)
          for (const each of now) routes.update(each)
          // Whoever routes by generations comes to the same picture from the changes alone.
          assert.deepEqual(routes.ranges(), now)
        }
      }),
      { numRuns: 40 },
    )
  })
})
