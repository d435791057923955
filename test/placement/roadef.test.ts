import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkSolution } from '../../bench/roadef/check.ts'
import { formatModel, generate, shapeLike } from '../../bench/roadef/generate.ts'
import { improve } from '../../bench/roadef/improve.ts'
import { BadFile, parseAssignment, parseModel } from '../../bench/roadef/instance.ts'
import { bestKnown, instanceName } from '../../bench/roadef/known.ts'

const shape = { processes: 120, machines: 12, resources: 3, seed: 5 }

/** Two machines, two processes of one service that needs two locations, and one of another that needs the first. */
const model = `1
1 10
2
0 0 100 50 0 3
0 1 60 60 2 0
2
2 0
0 1 0
3
0 40 5
0 10 5
1 20 7
1
0 0 2
1
1 10 100
`

test('an instance survives being written and read', () => {
  const { instance, initial } = generate(shape)
  assert.deepEqual(parseModel(formatModel(instance), 'drawn'), instance)
  assert.deepEqual(parseAssignment([...initial].join('\n'), 'drawn', instance), initial)
})

test('the checker finds cost and violations as the problem defines them', () => {
  const instance = parseModel(model, 'small')
  const initial = Int32Array.of(0, 1, 0)
  const start = checkSolution(instance, initial, initial)
  // Load 60 on machine 0 is 10 above its safety; balance: 2 x free - free = 40 and 50.
  assert.deepEqual(start.parts, {
    load: 100n,
    balance: 90n,
    processMove: 0n,
    serviceMove: 0n,
    machineMove: 0n,
  })
  assert.deepEqual(start.broken, [])
  const moved = checkSolution(instance, initial, Int32Array.of(0, 1, 1))
  assert.deepEqual(moved.parts, {
    load: 0n,
    balance: 90n,
    processMove: 7n,
    serviceMove: 10n,
    machineMove: 300n,
  })
  assert.equal(moved.cost, 407n)
  assert.deepEqual(moved.broken, [])
  const together = checkSolution(instance, initial, Int32Array.of(1, 1, 1))
  assert.equal(together.broken.length, 3)
  assert.match(together.broken[0] as string, /processes 0 and 1 of service 0 share machine 1/)
  assert.match(together.broken[1] as string, /machine 1 holds 70 of resource 0/)
  assert.match(together.broken[2] as string, /service 0 is in 1 locations/)
  // The resource is transient: machine 1 has 60, and holds the 10 that leave it as well.
  const swapped = checkSolution(instance, Int32Array.of(0, 1, 1), Int32Array.of(1, 0, 1))
  assert.deepEqual(swapped.broken, ['machine 1 holds 70 of resource 0, it has 60'])
})

test('a dependency that is not met is found', () => {
  const instance = parseModel(
    model.replace('0 1 60 60', '4 1 60 60').replace('2 0\n0 1 0', '1 0\n0 1 0'),
    'small',
  )
  const verdict = checkSolution(instance, Int32Array.of(0, 0, 1), Int32Array.of(0, 0, 1))
  assert.ok(verdict.broken.includes('service 1 is in neighbourhood 4 without service 0'))
})

for (const resources of [1, 3, 12]) {
  test(`what is drawn breaks no rule, and improves within the rules (${resources} resources)`, () => {
    const { instance, initial } = generate({ ...shape, resources })
    const before = checkSolution(instance, initial, initial)
    assert.deepEqual(before.broken, [])
    const improved = improve(instance, initial, { steps: 60_000, seed: 1 })
    const after = checkSolution(instance, initial, improved.solution)
    assert.deepEqual(after.broken, [])
    assert.equal(after.cost, BigInt(improved.cost))
    assert.ok(after.cost < before.cost)
    assert.ok(improved.lowerBound <= improved.cost)
    assert.deepEqual(improve(instance, initial, { steps: 60_000, seed: 1 }).solution, improved.solution)
  })
}

test('an instance like one of set B has its size, and breaks no rule', () => {
  const published = shapeLike('b_1', 3)
  assert.ok(published !== undefined)
  const { instance, initial } = generate(published)
  assert.deepEqual(checkSolution(instance, initial, initial).broken, [])
  const { processes, machines, resources, services } = instance
  assert.deepEqual([processes.length, machines.length, resources.length], [5000, 100, 12])
  assert.equal(resources.filter(({ transient }) => transient).length, 4)
  assert.ok(Math.abs(services.length - 2512) < 100, `${services.length} services`)
  const dependencies = services.reduce((sum, { dependsOn }) => sum + dependsOn.length, 0)
  assert.ok(dependencies > 2500 && dependencies < 5500, `${dependencies} dependencies`)
  assert.ok(services.some(({ spread }) => spread > 1))
  assert.equal(shapeLike('toString', 3), undefined)
})

test('little time is enough to make it better, and what limits were exceeded for is not given up', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { instance, initial } = generate({ ...shape, processes: 400, machines: 20, resources: 6, seed })
    const before = checkSolution(instance, initial, initial)
    for (const steps of [10, 1000, 8000]) {
      const improved = improve(instance, initial, { steps, seed })
      const after = checkSolution(instance, initial, improved.solution)
      assert.deepEqual(after.broken, [])
      assert.equal(after.cost, BigInt(improved.cost))
      assert.ok(after.cost <= before.cost)
      if (steps > 10) assert.ok(after.cost < before.cost)
    }
  }
})

const badModels: readonly (readonly [string, string, RegExp])[] = [
  ['nothing', '', /line 1: number of resources: the file ends/],
  ['a word', 'two', /line 1: number of resources: 'two' is not a whole number/],
  ['a negative number', '1\n0 -10', /line 2: load weight of resource 0: '-10'/],
  ['a fraction', '1\n0 1.5', /line 2: load weight of resource 0: '1.5'/],
  ['no resource', '0', /number of resources: 0 is not between 1 and 64/],
  ['a flag that is none', '1\n2 10', /transient flag of resource 0: 2/],
  ['a number above all', '1\n0 99999999999999999999', /load weight/],
  ['a file cut short', model.slice(0, 60), /the file ends before it/],
  ['more than there should be', `${model}\n7`, /the end of the file: there is more/],
  [
    'a service that does not exist',
    model.replace('1 20 7', '2 20 7'),
    /line 12: service of process 2: 2 is not between 0 and 1/,
  ],
  ['a dependency that does not exist', model.replace('0 1 0\n3', '0 1 9\n3'), /a dependency of service 1/],
  [
    'a resource that does not exist',
    model.replace('0 0 2', '0 1 2'),
    /second resource of balance objective 0/,
  ],
]

for (const [what, text, message] of badModels) {
  test(`a model with ${what} is refused by line and field`, () => {
    assert.throws(
      () => parseModel(text, 'file'),
      (error) => error instanceof BadFile && message.test(error.message),
    )
  })
}

test('an assignment that does not fit is refused by line and field', () => {
  const instance = parseModel(model, 'small')
  const refused = (text: string, message: RegExp): void =>
    assert.throws(
      () => parseAssignment(text, 'file', instance),
      (error) => error instanceof BadFile && message.test(error.message),
    )
  refused('0 1', /machine of process 2: the file ends/)
  refused('0 1\n2', /line 2: machine of process 2: 2 is not between 0 and 1/)
  refused('0 1 0 0', /there is more/)
  refused('0 x 0', /machine of process 1: 'x'/)
})

test('best known costs are found by the name of the file', () => {
  assert.equal(bestKnown.get(instanceName('/some/where/model_a2_1.txt')), 329)
  assert.equal(bestKnown.get(instanceName('elsewhere.txt')), undefined)
})
