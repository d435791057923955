import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '../../../src/core/bytes.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import { finish, type Sliced } from '../../../src/core/sliced.ts'
import type { ObservedReplica } from '../../../src/interfaces/range-host.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../../src/metadata/index.ts'
import { OrderedMap } from '../../../src/metadata/mvcc/ordered-map.ts'
import type { RangeDescriptor } from '../../../src/model/descriptors.ts'
import { rangeContains } from '../../../src/model/range-map.ts'
import {
  isLater,
  type RangesByStart,
  type Retiling,
  retilings,
} from '../../../src/placement/core/retiling.ts'
import { retilingStep } from '../../../src/placement/core/retiling-steps.ts'
import { FleetFeed } from '../../../src/placement/fleet-feed.ts'
import { LostSight } from '../../../src/placement/lost-sight.ts'
import { projectRange } from '../../../src/placement/range-projection.ts'
import type { ReportedReplica } from '../../../src/placement/range-reports.ts'
import { VirtualTime } from '../../metadata/support/virtual-environment.ts'

const keys = 64
const keyOf = (at: number): Uint8Array => (at === 0 ? utf8('') : utf8(String(at).padStart(3, '0')))
const endOf = (at: number): Uint8Array | undefined => (at === keys ? undefined : keyOf(at))

function range(rangeId: number, from: number, to: number, generation: number): RangeDescriptor {
  const replicas = [{ replicaId: 1, nodeId: `n${rangeId % 5}`, incarnation: 1, role: 'voter' as const }]
  return { rangeId, start: keyOf(from), end: endOf(to), generation, replicas }
}

interface Tile {
  readonly rangeId: number
  readonly from: number
  readonly to: number
  readonly generation: number
}

/** A cluster's ranges over time: at first one, then split, merged and changed at random. */
class History {
  readonly #random: SeededRandom
  #tiles: Tile[] = [{ rangeId: 1, from: 0, to: keys, generation: 1 }]
  #lastId = 1

  constructor(seed: number) {
    this.#random = new SeededRandom(seed)
  }

  step(): void {
    const at = this.#random.integer(this.#tiles.length)
    const tile = this.#tiles[at] as Tile
    const next = this.#tiles[at + 1]
    const what = this.#random.integer(5)
    if (what < 2 && tile.to - tile.from > 1) {
      const key = tile.from + 1 + this.#random.integer(tile.to - tile.from - 1)
      const generation = tile.generation + 1
      const right = { rangeId: ++this.#lastId, from: key, to: tile.to, generation }
      this.#tiles.splice(at, 1, { ...tile, to: key, generation }, right)
    } else if (what < 4 && next !== undefined) {
      // The freeze counts as well.
      const generation = Math.max(tile.generation, next.generation + 1) + 1
      this.#tiles.splice(at, 2, { ...tile, to: next.to, generation })
    } else this.#tiles[at] = { ...tile, generation: tile.generation + 1 }
  }

  now(): RangeDescriptor[] {
    return this.#tiles.map(({ rangeId, from, to, generation }) => range(rangeId, from, to, generation))
  }
}

const newerThan = (
  directory: readonly RangeDescriptor[],
  reported: readonly RangeDescriptor[],
): RangeDescriptor[] => {
  const known = new Map(directory.map((each) => [each.rangeId, each.generation]))
  return reported.filter(({ rangeId, generation }) => generation > (known.get(rangeId) ?? 0))
}

/** What the directory is to say, of the reports given. */
function retilingsOf(
  directory: readonly RangeDescriptor[],
  reported: readonly RangeDescriptor[],
): readonly Retiling[] {
  const tiling: RangesByStart = new OrderedMap()
  for (const each of directory) tiling.set(each.start, each)
  const later = new OrderedMap<readonly RangeDescriptor[]>()
  for (const each of reported)
    if (finish(isLater(tiling, each))) later.set(each.start, [...(later.get(each.start) ?? []), each])
  return finish(retilings(tiling, later))
}

async function directoryOf(ranges: readonly RangeDescriptor[]) {
  const store = memoryStore({ env: new VirtualTime().environment() })
  const epoch = await ControllerEpoch.acquire(store, 'placement', 'cp1')
  const directory = new RangeDirectory(store)
  await directory.create(epoch, ranges)
  /** Takes in what is reported, as long as there is something to take in, in transactions of so many writes. */
  const follow = async (reported: readonly RangeDescriptor[], room = 900): Promise<number> => {
    for (let steps = 0; ; steps++) {
      const known = await directory.list()
      const [found] = retilingsOf(known, newerThan(known, reported))
      if (found === undefined) return steps
      const step = finish(retilingStep(found, room))
      assert.ok(step !== undefined, 'the histories leave room')
      await directory.retile(epoch, step.ended, step.next)
      const after = await directory.list()
      for (let at = 0; at < keys; at++) {
        const holders = after.filter((each) => rangeContains(each, keyOf(at)))
        const before = known.find((each) => rangeContains(each, keyOf(at)))
        assert.equal(holders.length, 1)
        assert.ok((holders[0]?.generation ?? 0) >= (before?.generation ?? 0), 'generations only grow')
      }
    }
  }
  return { directory, epoch, follow }
}

suite('a directory that has lost sight of splits and merges', () => {
  test('comes to where the ranges are, when all of them report', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(15), fc.nat(30), async (seed, before, lost) => {
        const history = new History(seed)
        for (let i = 0; i < before; i++) history.step()
        const { directory, follow } = await directoryOf(history.now())
        for (let i = 0; i < lost; i++) history.step()
        await follow(history.now())
        assert.deepEqual(await directory.list(), history.now())
      }),
      { numRuns: 200 },
    )
  })

  test('never goes back or leaves a gap, whoever is late or silent', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(10), fc.nat(20), async (seed, before, lost) => {
        const history = new History(seed)
        const random = new SeededRandom(seed + 1)
        for (let i = 0; i < before; i++) history.step()
        const { directory, follow } = await directoryOf(history.now())
        const heard = new Map<number, RangeDescriptor>()
        for (let i = 0; i < lost; i++) {
          history.step()
          // Some report now, others later or never; ranges that have ended go on being reported by whoever is late.
          for (const each of history.now()) if (random.integer(3) === 0) heard.set(each.rangeId, each)
          if (random.integer(4) === 0) await follow([...heard.values()])
        }
        await follow([...heard.values()])
        await follow(history.now())
        assert.deepEqual(await directory.list(), history.now())
      }),
      { numRuns: 200 },
    )
  })

  test('waits for the part of a split that nobody reports yet', () => {
    const directory = [range(1, 0, 10, 4), range(2, 10, keys, 1)]
    const left = range(1, 0, 5, 5)
    assert.deepEqual(retilingsOf(directory, [left]), [])
    const right = range(3, 5, 10, 5)
    assert.deepEqual(retilingsOf(directory, [left, right]), [
      { before: [directory[0]], after: [left, right] },
    ])
  })

  test('ends no range that serves, whoever claims its keys with a later generation', async () => {
    const known = [range(1, 0, 10, 1), range(2, 10, keys, 1)]
    const { directory, epoch } = await directoryOf(known)
    const reports = new Map<number, readonly ReportedReplica[]>()
    const report = (tile: RangeDescriptor, change: Partial<ObservedReplica> = {}): void => {
      const { rangeId, generation, replicas, start, end } = tile
      const replica = {
        rangeId,
        generation,
        replicas,
        replicaId: 1,
        sequence: 1,
        caughtUp: [],
        load: {},
        leaseHolder: true,
        bounds: { start, end },
        ...change,
      }
      reports.set(rangeId, [{ nodeId: `n${rangeId % 5}`, replica }])
    }
    const observed = (rangeId: number): readonly ReportedReplica[] => reports.get(rangeId) ?? []
    const ports = { directory, epoch, observed }
    const clock = { nowMs: 0 }
    const env: Environment = {
      ...new VirtualTime().environment(),
      clock: { monotonicMs: () => clock.nowMs, wallMs: () => clock.nowMs },
    }
    const feed = new FleetFeed({
      nodes: () => [],
      observed,
      changed: () => reports.keys(),
      held: () => new Map(),
      replicationFactor: () => undefined,
      refused: { range: () => {}, node: () => {} },
      deadAfterMs: 1,
    })
    feed.setDirectory(known)
    const lostSight = new LostSight({ ...ports, env, feed })
    const round = async (): Promise<readonly number[]> => {
      finish(feed.look())
      clock.nowMs += 6_000
      return lostSight.round(true, {})
    }
    for (const tile of known) report(tile)
    // One that nobody should have, and a left-hand range that was recovered from before the split.
    report(range(9, 0, keys, 1_000))
    assert.deepEqual(await round(), [])
    assert.deepEqual(
      lostSight.lost().map(({ rangeIds }) => rangeIds),
      [[1, 2]],
    )
    assert.match(lostSight.lost()[0]?.reason ?? '', /keys of range 1, which serves/)
    reports.delete(9)
    report(range(1, 0, keys, 1_000))
    assert.deepEqual(await projectRange(ports, known[0] as RangeDescriptor, {}), known[0])
    assert.deepEqual(await round(), [])
    assert.match(lostSight.lost()[0]?.reason ?? '', /keys of range 2, which serves/)
    assert.deepEqual(await directory.list(), known)
    // Frozen for that merge it may have ended; but a replica that nobody follows is believed by nobody.
    report(range(2, 10, keys, 2), { frozen: { into: 1, intoGeneration: 1 } })
    report(range(1, 0, keys, 1_000), { leaseHolder: false })
    assert.deepEqual(await round(), [])
    assert.deepEqual(lostSight.lost(), [])
    report(range(1, 0, keys, 1_000))
    assert.deepEqual(await round(), [1])
    assert.deepEqual(await directory.list(), [range(1, 0, keys, 1_000)])
    clock.nowMs += 6_000
    assert.deepEqual(await lostSight.round(false, {}), [])
  })

  test('is not led back by a replica that has missed a merge', () => {
    const directory = [range(1, 0, keys, 9)]
    const late = range(2, 5, keys, 7)
    assert.deepEqual(retilingsOf(directory, [late]), [])
  })

  test('comes there in steps where one transaction does not hold all of it', async () => {
    let longest = 0
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.nat(100),
        fc.integer({ min: 50, max: 300 }),
        async (seed, before, lost) => {
          const history = new History(seed)
          for (let i = 0; i < before; i++) history.step()
          const { directory, follow } = await directoryOf(history.now())
          for (let i = 0; i < lost; i++) history.step()
          longest = Math.max(longest, await follow(history.now(), 60))
          assert.deepEqual(await directory.list(), history.now())
        },
      ),
      { numRuns: 100 },
    )
    assert.ok(longest > 3, `at most ${longest} steps`)
  })

  test('takes thousands of ranges over that one range was split into, however it was split', () => {
    const count = 3_000
    const at = (i: number): Uint8Array => utf8(i === 0 ? '' : String(i).padStart(6, '0'))
    const whole = { ...range(1, 0, keys, 1), start: at(0), end: undefined }
    const piece = (i: number, generation: number): RangeDescriptor => ({
      ...range(i + 1, 0, keys, generation),
      start: at(i),
      end: i === count - 1 ? undefined : at(i + 1),
    })
    const pieces = Array.from({ length: count }, (_, i) => i)
    // Halved again and again, and a piece cut off on the left or on the right each time.
    for (const generationOf of [
      () => 16,
      (i: number) => Math.min(i, count - 2) + 2,
      (i: number) => count - Math.max(i, 1) + 1,
    ]) {
      const after = pieces.map((i) => piece(i, generationOf(i)))
      let directory: RangeDescriptor[] = [whole]
      const todo: Retiling[] = [{ before: [whole], after }]
      let steps = 0
      for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
        const step = finish(retilingStep(next, 900))
        assert.ok(step !== undefined)
        assert.ok(step.next.length <= 180)
        steps++
        for (const each of step.rest) todo.push(each)
        const from = directory.findIndex((each) => each.rangeId === next?.before[0]?.rangeId)
        assert.deepEqual(directory.slice(from, from + next.before.length), next.before)
        for (const each of step.next) {
          const old = next.before.find((other) => rangeContains(other, each.start))
          assert.ok(old !== undefined && old.generation < each.generation)
        }
        directory = [...directory.slice(0, from), ...step.next, ...directory.slice(from + next.before.length)]
        directory.reduce((left, right) => {
          assert.deepEqual(left.end, right.start)
          return right
        })
      }
      assert.deepEqual(directory, after)
      assert.ok(steps < 60, `${steps} steps`)
    }
  })

  test('lets others go on while it looks at many ranges', () => {
    const count = 10_000
    const tiles = Array.from({ length: count }, (_, i) => ({
      ...range(i + 1, 0, keys, 1),
      start: i === 0 ? utf8('') : utf8(String(i).padStart(6, '0')),
      end: i === count - 1 ? undefined : utf8(String(i + 1).padStart(6, '0')),
    }))
    const tiling: RangesByStart = new OrderedMap()
    for (const tile of tiles) tiling.set(tile.start, tile)
    const pauses = (work: Sliced<unknown>): number => {
      let paused = 0
      while (work.next().done !== true) paused++
      return paused
    }
    const all = { ...range(count + 1, 0, keys, 9), start: utf8(''), end: undefined }
    assert.ok(pauses(isLater(tiling, all)) > count / 100)
    const one = new OrderedMap<readonly RangeDescriptor[]>()
    one.set(all.start, [all])
    assert.ok(pauses(retilings(tiling, one)) > count / 100)
    const many = new OrderedMap<readonly RangeDescriptor[]>()
    for (const tile of tiles) many.set(tile.start, [{ ...tile, generation: 5 }])
    assert.ok(pauses(retilings(tiling, many)) > count / 100)
    assert.ok(pauses(retilingStep({ before: tiles, after: [all] }, 900)) < 100, 'it looks at what fits alone')
  })

  test('says where generations leave no room for a step in between', () => {
    const after = Array.from({ length: 60 }, (_, i) => range(i + 1, i, i === 59 ? keys : i + 1, 2))
    assert.equal(finish(retilingStep({ before: [range(1, 0, keys, 1)], after }, 100)), undefined)
    assert.equal(finish(retilingStep({ before: [range(1, 0, keys, 1)], after }, 400))?.next.length, 60)
  })
})
