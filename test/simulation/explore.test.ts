import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { type ExplorableModel, explore } from '../../src/simulation/explore.ts'
import { FingerprintSet } from '../../src/simulation/fingerprint-set.ts'
import { StateHash } from '../../src/simulation/state-hash.ts'

type Point = readonly number[]

/** Counters that each go up one at a time to `limit`. Mirrored: their order does not matter. */
function counters(count: number, limit: number, mirrored = false): ExplorableModel<Point, number> {
  return {
    initial: () => Array.from({ length: count }, () => 0),
    actions: (state) => state.flatMap((value, i) => (value < limit ? [i] : [])),
    next: (state, i) => state.with(i, (state[i] as number) + 1),
    fingerprint: (state) => (mirrored ? state.toSorted((a, b) => a - b) : state).join(','),
  }
}

/** A ferryman, a wolf, a goat and a cabbage, each on bank 0 or 1: no two may be eaten, and all want to cross. */
const crossing: ExplorableModel<Point, number> = {
  initial: () => [0, 0, 0, 0],
  // 0: alone; otherwise with that passenger.
  actions: ([man, ...others]) => [0, ...others.flatMap((bank, i) => (bank === man ? [i + 1] : []))],
  next: (state, passenger) => {
    const crossed = state.map((bank, i) => (i === 0 || i === passenger ? 1 - bank : bank))
    const [man, wolf, goat, cabbage] = crossed
    const eaten = goat !== man && (goat === wolf || goat === cabbage)
    return eaten ? state : crossed
  },
  fingerprint: (state) => Uint32Array.from(state),
  check: (state) => assert.ok(state.includes(0), 'all have crossed'),
}

suite('an exploration', () => {
  test('sees every state once, and says so', () => {
    const result = explore(counters(3, 4))
    assert.deepEqual(
      { ...result, collisionProbability: 0 },
      {
        states: 125,
        transitions: 300,
        depth: 12,
        frontier: 0,
        complete: true,
        ended: 'all was seen',
        violation: undefined,
        collisionProbability: 0,
      },
    )
    assert.ok(result.collisionProbability > 0 && result.collisionProbability < 1e-15)
    assert.ok(explore(counters(3, 4), { fingerprintBits: 128 }).collisionProbability < 1e-34)
  })

  test('counts mirror images once', () => {
    // The multisets of three values out of five.
    assert.equal(explore(counters(3, 4, true)).states, 35)
  })

  test('finds a shortest way to a violation', () => {
    const { violation, ended, complete } = explore(crossing)
    assert.equal(ended, 'violation')
    assert.equal(complete, false)
    assert.match(String(violation?.error), /all have crossed/)
    const path = violation?.path ?? []
    assert.equal(path.length, 7)
    let state = crossing.initial()
    for (const step of path) {
      state = crossing.next(state, step.action)
      assert.deepEqual(step.state, state)
    }
    assert.deepEqual(state, [1, 1, 1, 1])
  })

  test('takes what an action throws for a violation, and what the first state breaks', () => {
    const broken: ExplorableModel<Point, number> = {
      ...counters(2, 3),
      next: (state, i) => {
        if (i === 1 && state[0] === 2) throw new Error('not there')
        return state.with(i, (state[i] as number) + 1)
      },
    }
    const { violation } = explore(broken)
    assert.deepEqual(
      violation?.path.map(({ action, state }) => [action, state]),
      [
        [0, [1, 0]],
        [0, [2, 0]],
        [1, undefined],
      ],
    )
    const impossible = { ...counters(2, 3), check: () => assert.fail('never right') }
    assert.deepEqual(explore(impossible).violation?.path, [])
  })

  test('ends at its limits, and says what is left', () => {
    const model = counters(3, 30)
    const few = explore(model, { maximumStates: 100 })
    assert.equal(few.ended, 'maximumStates')
    assert.ok(few.states >= 100 && few.states < 110 && few.frontier > 0 && !few.complete)
    const near = explore(model, { maximumDepth: 3 })
    assert.equal(near.ended, 'maximumDepth')
    assert.deepEqual([near.states, near.depth, near.frontier], [20, 3, 10])
    assert.equal(explore(model, { maximumDepth: 0 }).states, 1)
    let asked = 0
    const stopped = explore(model, { stop: () => ++asked > 20 })
    assert.equal(stopped.ended, 'stopped')
    assert.ok(!stopped.complete && stopped.states < 31 ** 3)
  })

  test('tells of each depth', () => {
    const seen: number[] = []
    explore(counters(2, 2), { onDepth: ({ depth, frontier }) => seen.push(depth, frontier) })
    assert.deepEqual(seen, [1, 2, 2, 3, 3, 2, 4, 1])
  })

  test('may keep its states packed, of any length', () => {
    const long = 70_000
    const model = counters(3, 20)
    const padding = Array.from({ length: long }, () => 7)
    const packed: ExplorableModel<Point, number> = {
      ...model,
      pack: (state) => (state[0] === 20 && state[1] === 20 ? [...state, ...padding] : state),
      unpack: (words) => {
        assert.ok(words.length === 3 || words.length === long + 3)
        return Array.from(words).slice(0, 3)
      },
    }
    assert.deepEqual(explore(packed), explore(model))
  })

  test('refuses options that make no sense, and states with too many actions', () => {
    const model = counters(1, 1)
    assert.throws(() => explore(model, { maximumStates: 0 }), { code: 'INVALID_OPTION' })
    assert.throws(() => explore(model, { fingerprintBits: 32 as 64 }), { code: 'INVALID_OPTION' })
    const wide = { ...model, actions: () => Array.from({ length: 70_000 }, () => 0) }
    assert.throws(() => explore(wide), { code: 'LIMIT_EXCEEDED' })
  })
})

suite('fingerprints', () => {
  test('are MurmurHash3, which others compute alike', () => {
    const hash = (words: number[]): number[] => {
      const digest = new Uint32Array(4)
      const state = new StateHash()
      for (const word of words) state.word(word)
      state.digest(digest)
      return [...digest]
    }
    assert.deepEqual(hash([1, 2, 3, 4]), [0x37d6ee17, 0x3d4a429d, 0x3dbb9c17, 0x5b64b81d])
    assert.deepEqual(
      hash([0xffffffff, 0, 7, 0x80000000, 5, 6, 7, 8]),
      [0x0ec964ba, 0x4a6a477e, 0xdfcb8bfb, 0xeb728560],
    )
    // A word of nothing at the end is a word.
    assert.notDeepEqual(hash([1, 2, 3]), hash([1, 2, 3, 0]))
  })

  test('are kept like in a set', () => {
    for (const bits of [64, 128] as const) {
      const random = new SeededRandom(bits)
      const table = new FingerprintSet(bits)
      const model = new Set<string>()
      for (let i = 0; i < 8_000; i++) {
        // Few values, so that many come twice, zeros and neighbours among them.
        const hash = Uint32Array.from({ length: 4 }, () => random.integer(12))
        // All zero and one is the same to it: a hash is not that.
        if (hash[0] === 0 && hash[1] === 0) hash[0] = 1
        const key = hash.slice(0, bits / 32).join(',')
        assert.equal(table.add(hash), !model.has(key))
        model.add(key)
      }
      assert.equal(table.size, model.size)
      assert.ok(table.bytes >= table.size * (bits / 8))
    }
  })
})
