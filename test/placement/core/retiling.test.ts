import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '../../../src/core/bytes.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import type { ObservedReplica } from '../../../src/interfaces/range-host.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../../src/metadata/index.ts'
import type { RangeDescriptor } from '../../../src/model/descriptors.ts'
import { rangeContains } from '../../../src/model/range-map.ts'
import { laterThan, retile } from '../../../src/placement/core/retiling.ts'
import { projectRange, projectTiling } from '../../../src/placement/range-projection.ts'
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

async function directoryOf(ranges: readonly RangeDescriptor[]) {
  const store = memoryStore({ env: new VirtualTime().environment() })
  const epoch = await ControllerEpoch.acquire(store, 'placement', 'cp1')
  const directory = new RangeDirectory(store)
  await directory.create(epoch, ranges)
  /** Takes in what is reported, as long as there is something to take in. */
  const follow = async (reported: readonly RangeDescriptor[]): Promise<void> => {
    for (;;) {
      const known = await directory.list()
      const later = laterThan(known, newerThan(known, reported))
      const found = later.map((each) => retile(known, later, each)).find((each) => each !== undefined)
      if (found === undefined) return
      await directory.retile(epoch, found.ended, found.next)
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
    assert.equal(retile(directory, [left], left), undefined)
    const right = range(3, 5, 10, 5)
    assert.deepEqual(retile(directory, [left, right], left), { ended: [], next: [left, right] })
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
    for (const tile of known) report(tile)
    // One that nobody should have, and a left-hand range that was recovered from before the split.
    report(range(9, 0, keys, 1_000))
    assert.deepEqual(await projectTiling(ports, known, [9], {}), [])
    reports.delete(9)
    report(range(1, 0, keys, 1_000))
    assert.deepEqual(await projectRange(ports, known[0] as RangeDescriptor, {}), known[0])
    assert.deepEqual(await projectTiling(ports, known, [1], {}), [])
    assert.deepEqual(await directory.list(), known)
    // Frozen for that merge it may have ended; but a replica that nobody follows is believed by nobody.
    report(range(2, 10, keys, 2), { frozen: { into: 1, intoGeneration: 1 } })
    report(range(1, 0, keys, 1_000), { leaseHolder: false })
    assert.deepEqual(await projectTiling(ports, known, [1], {}), [])
    report(range(1, 0, keys, 1_000))
    assert.deepEqual(await projectTiling(ports, known, [1], {}), [1])
    assert.deepEqual(await directory.list(), [range(1, 0, keys, 1_000)])
  })

  test('is not led back by a replica that has missed a merge', () => {
    const directory = [range(1, 0, keys, 9)]
    const late = range(2, 5, keys, 7)
    assert.deepEqual(laterThan(directory, [late]), [])
  })
})
