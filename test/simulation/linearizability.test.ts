import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { KeelsonError } from '../../src/core/errors.ts'
import { SeededRandom } from '../../src/core/random.ts'
import { checkLinearizability, type Operation } from '../../src/simulation/linearizability.ts'
import {
  type CounterInput,
  counterModel,
  type MapInput,
  type MapOutput,
  mapModel,
} from '../../src/simulation/sequential-models.ts'

/** `put x 1`, `get x 1`, `cas x 1 2 true`, `delete x`, with `?` for an unknown outcome; then call and return time. */
function op(text: string, calledAt: number, returnedAt?: number): Operation<MapInput, MapOutput> {
  const [type, key, a, b, c] = text.split(' ') as [string, string, string?, string?, string?]
  const value = (word: string | undefined): string | undefined => (word === '-' ? undefined : word)
  const input: MapInput =
    type === 'get'
      ? { type, key }
      : type === 'put'
        ? { type, key, value: a as string }
        : type === 'cas'
          ? { type, key, expected: value(a), value: b as string }
          : { type: 'delete', key }
  const times = returnedAt === undefined ? { calledAt } : { calledAt, returnedAt }
  const output = type === 'get' ? value(a) : type === 'cas' ? c === 'true' : undefined
  return { client: 'c', input, ...times, ...(output === undefined ? {} : { output }) }
}

type Case = [what: string, history: Operation<MapInput, MapOutput>[]]

const good: Case[] = [
  ['nothing', []],
  [
    'one after the other',
    [op('put x 1', 0, 1), op('get x 1', 2, 3), op('delete x', 4, 5), op('get x -', 6, 7)],
  ],
  [
    'a read beside a write may see it or not',
    [op('put x 1', 0, 9), op('get x -', 1, 2), op('get x 1', 3, 4)],
  ],
  [
    'a write of unknown outcome may never happen',
    [op('put x 1', 0), op('get x -', 1, 2), op('get x -', 9, 10)],
  ],
  [
    'a write of unknown outcome may happen late',
    [op('put x 1', 0), op('get x -', 1, 2), op('get x 1', 9, 10)],
  ],
  ['compare-and-set', [op('cas x - 1 true', 0, 5), op('cas x - 2 false', 1, 6), op('get x 1', 7, 8)]],
  ['a compare-and-set of unknown outcome', [op('cas x - 1 true', 0), op('get x 1', 1, 2)]],
  ['keys do not concern each other', [op('put x 1', 0, 1), op('get y -', 2, 3)]],
  ['touching times are concurrent', [op('put x 1', 0, 1), op('get x -', 1, 2)]],
]
const bad: Case[] = [
  ['a stale read', [op('put x 1', 0, 1), op('get x -', 2, 3)]],
  ['a value out of nowhere', [op('put x 1', 0, 1), op('get x 2', 2, 3)]],
  ['time goes back between readers', [op('put x 1', 0, 9), op('get x 1', 1, 2), op('get x -', 3, 4)]],
  ['two winners', [op('cas x - 1 true', 0, 5), op('cas x - 2 true', 1, 6)]],
  ['a lost update', [op('put x 1', 0, 1), op('put x 2', 2, 3), op('get x 1', 4, 5)]],
  ['a write of unknown outcome that is undone', [op('put x 1', 0), op('get x 1', 1, 2), op('get x -', 3, 4)]],
  ['a read from the future', [op('get x 1', 0, 1), op('put x 1', 2, 3)]],
  ['an unknown outcome cannot happen before its call', [op('get x 1', 0, 1), op('put x 1', 2)]],
]

suite('the linearizability checker', () => {
  for (const [what, history] of good) {
    test(`accepts: ${what}`, () => {
      assert.equal(checkLinearizability(mapModel, history).result, 'linearizable')
    })
  }
  for (const [what, history] of bad) {
    test(`refuses: ${what}`, () => {
      const verdict = checkLinearizability(mapModel, history)
      assert.equal(verdict.result, 'broken')
      assert.equal(verdict.part, 'x')
      assert.ok((verdict.stuck?.length ?? 0) > 0)
    })
  }

  test('many calls of unknown outcome do not blow it up', () => {
    const history: Operation<CounterInput, number>[] = []
    const add = (amount: number, at: number, output?: number): void => {
      const input = { name: 'n', amount }
      history.push(
        output === undefined
          ? { client: 'blind', input, calledAt: at }
          : { client: 'c', input, output, calledAt: at, returnedAt: at + 0.5 },
      )
    }
    // Twelve of each amount, of which some took effect.
    for (let i = 0; i < 36; i++) add(1 + (i % 3), i)
    let sum = 0
    for (let i = 0; i < 60; i++) {
      sum += 1 + (i % 4)
      add(1, 40 + i, sum)
    }
    const verdict = checkLinearizability(counterModel, history, { maximumSteps: 100_000 })
    assert.equal(verdict.result, 'broken')
    sum = 0
    const possible = history.map((operation) => {
      if (operation.returnedAt === undefined) return operation
      sum += operation.calledAt % 4 === 0 ? 3 : 1
      return { ...operation, output: sum }
    })
    assert.equal(
      checkLinearizability(counterModel, possible, { maximumSteps: 100_000 }).result,
      'linearizable',
    )
  })

  test('tells where it gave up', () => {
    const history = Array.from({ length: 20 }, (_, i) => op(`put x ${i}`, 0, 100))
    history.push(op('get x nothing', 200, 201))
    const verdict = checkLinearizability(mapModel, history, { maximumSteps: 1_000 })
    assert.deepEqual([verdict.result, verdict.part], ['undecided', 'x'])
  })

  test('refuses times that run backwards', () => {
    assert.throws(
      () => checkLinearizability(mapModel, [op('put x 1', 2, 1)]),
      (error) => KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
    )
  })

  test('counters', () => {
    const add = (
      amount: number,
      output: number,
      calledAt: number,
      returnedAt: number,
    ): Operation<CounterInput, number> => ({
      client: 'c',
      input: { name: 'n', amount },
      output,
      calledAt,
      returnedAt,
    })
    const once = [add(1, 1, 0, 1), add(2, 3, 2, 3), add(0, 3, 4, 5)]
    assert.equal(checkLinearizability(counterModel, once).result, 'linearizable')
    const twice = [add(1, 1, 0, 1), add(2, 3, 2, 3), add(0, 5, 4, 5)]
    assert.equal(checkLinearizability(counterModel, twice).result, 'broken')
  })

  test('accepts every history of a real register, and refuses it when one read is changed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1 << 30 }), (seed) => {
        const random = new SeededRandom(seed)
        const history = record(random, 60, 4)
        assert.equal(checkLinearizability(mapModel, history).result, 'linearizable')
        const reads = history.flatMap((operation, at) =>
          operation.input.type === 'get' && operation.returnedAt !== undefined ? [at] : [],
        )
        if (reads.length === 0) return
        const at = reads[random.integer(reads.length)] as number
        const changed = history.map((operation, i) =>
          i === at ? { ...operation, output: 'never' } : operation,
        )
        assert.equal(checkLinearizability(mapModel, changed).result, 'broken')
      }),
      { numRuns: 200 },
    )
  })

  test('agrees with trying every order, on small histories', () => {
    let broken = 0
    for (let seed = 0; seed < 600; seed++) {
      const random = new SeededRandom(seed)
      const history = record(random, 6, 3).map((operation) =>
        operation.input.type === 'get' && random.float() < 0.4 && operation.returnedAt !== undefined
          ? { ...operation, output: String(random.integer(4)) }
          : operation,
      )
      const expected = ['x', 'y'].every((key) => everyOrder(history.filter(({ input }) => input.key === key)))
      if (!expected) broken++
      assert.equal(
        checkLinearizability(mapModel, history).result === 'linearizable',
        expected,
        `seed ${seed}`,
      )
    }
    assert.ok(broken > 100 && broken < 500, `${broken} of 600 were broken`)
  })

  test('judges 2,000 operations of 8 clients on few keys quickly', () => {
    const history = record(new SeededRandom(9), 2_000, 8)
    const verdict = checkLinearizability(mapModel, history)
    assert.equal(verdict.result, 'linearizable')
    assert.ok(verdict.steps < 200_000, `${verdict.steps} steps`)
  })
})

/** Operations of several clients on a real register: each takes effect at a random point between call and return. */
function record(random: SeededRandom, count: number, clients: number): Operation<MapInput, MapOutput>[] {
  const freeAt = Array.from({ length: clients }, () => 0)
  const planned: { input: MapInput; client: string; calledAt: number; at: number; returnedAt: number }[] = []
  for (let i = 0; i < count; i++) {
    const client = random.integer(clients)
    const calledAt = (freeAt[client] as number) + random.float()
    const at = calledAt + random.float() * 2
    const returnedAt = at + random.float() * 2
    freeAt[client] = returnedAt + 0.001
    const key = random.integer(2) === 0 ? 'x' : 'y'
    const value = String(random.integer(4))
    const draw = random.float()
    const input: MapInput =
      draw < 0.4
        ? { type: 'get', key }
        : draw < 0.7
          ? { type: 'put', key, value }
          : draw < 0.95
            ? { type: 'cas', key, expected: String(random.integer(4)), value }
            : { type: 'delete', key }
    planned.push({ input, client: `c${client}`, calledAt, at, returnedAt })
  }
  const state = new Map<string, string | undefined>()
  const done = new Map<object, Operation<MapInput, MapOutput>>()
  for (const plan of planned.toSorted((a, b) => a.at - b.at)) {
    const { input, client, calledAt, returnedAt } = plan
    // Of some the answer is lost; some of those never took effect.
    const lost = random.float() < 0.02
    if (lost && random.float() < 0.5) {
      done.set(plan, { input, client, calledAt })
      continue
    }
    const step = mapModel.step(state.get(input.key), input)
    state.set(input.key, step.state)
    const output = step.output === undefined ? {} : { output: step.output }
    done.set(plan, lost ? { input, client, calledAt } : { input, client, calledAt, returnedAt, ...output })
  }
  return planned.map((plan) => done.get(plan) as Operation<MapInput, MapOutput>)
}

/** The definition itself: some order of all known operations and some unknown ones fits. */
function everyOrder(history: readonly Operation<MapInput, MapOutput>[]): boolean {
  const search = (left: readonly Operation<MapInput, MapOutput>[], state: string | undefined): boolean => {
    if (left.every(({ returnedAt }) => returnedAt === undefined)) return true
    return left.some((operation) => {
      const rest = left.filter((other) => other !== operation)
      if (rest.some(({ returnedAt }) => returnedAt !== undefined && returnedAt < operation.calledAt))
        return false
      const { state: after, output } = mapModel.step(state, operation.input)
      if (operation.returnedAt !== undefined && operation.output !== output) return false
      return search(rest, after)
    })
  }
  return search(history, undefined)
}
