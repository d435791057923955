import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom, shuffled } from '../../src/core/random.ts'
import { parseLocality, type ReplicaDescriptor } from '../../src/model/index.ts'
import { explainNode } from '../../src/placement/core/explain-node.ts'
import {
  balance,
  explainRange,
  Fleet,
  type PlacementPolicy,
  type PlacementSnapshot,
  type Plan,
  plan,
  RuleBook,
  spread,
  whatIf,
} from '../../src/placement/index.ts'

const on = (region: string) => [{ label: 'region', in: [region] }]

/** Voters in eu, two replicas for reads: one in us, one in asia. */
const book = (nonVoters = 2): RuleBook =>
  new RuleBook({
    rules: [
      {
        id: 'writes in eu',
        scope: { type: 'cluster' },
        spread: ['zone'],
        require: [{ match: on('eu'), role: 'voter' }],
      },
      {
        id: 'reads elsewhere',
        scope: { type: 'cluster' },
        nonVoters,
        require: [
          { match: [{ label: 'region', notIn: ['eu'] }], role: 'nonVoter' },
          ...(nonVoters < 2
            ? []
            : [
                { match: on('us'), role: 'nonVoter' as const, count: 1 },
                { match: on('asia'), role: 'nonVoter' as const, count: 1 },
              ]),
        ],
      },
    ],
  })

const policy: Partial<PlacementPolicy> = { rules: book(), goals: [balance('replicas')] }

interface Cluster {
  readonly fleet: Fleet
  readonly names: readonly string[]
}

function cluster(): Cluster {
  const fleet = new Fleet({ deadAfterMs: 1000 })
  const names: string[] = []
  for (const region of ['eu', 'us', 'asia']) {
    for (let zone = 0; zone < 3; zone++) {
      for (let i = 0; i < 2; i++) {
        names.push(`${region}-${zone}-${i}`)
        setNode(fleet, `${region}-${zone}-${i}`, {})
      }
    }
  }
  return { fleet, names }
}

function setNode(
  fleet: Fleet,
  nodeId: string,
  change: { readonly dead?: boolean; readonly draining?: boolean },
): void {
  const [region, zone] = nodeId.split('-')
  fleet.setNode({
    descriptor: {
      nodeId,
      incarnation: 1,
      addresses: [],
      locality: parseLocality(`region=${region},zone=${region}-${zone}`),
      capacity: {},
      labels: {},
    },
    state: change.draining === true ? 'draining' : 'active',
    liveness: change.dead === true ? 'dead' : 'live',
    forMs: 1000,
  })
}

/** `a b c? d?`: voters on a and b, replicas without a vote on c and d. */
function setRange(fleet: Fleet, rangeId: number, where: string): void {
  const replicas = where.split(' ').map(
    (each, i): ReplicaDescriptor => ({
      replicaId: i + 1,
      nodeId: each.replace('?', ''),
      incarnation: 1,
      role: each.endsWith('?') ? 'learner' : 'voter',
    }),
  )
  fleet.setRange({
    descriptor: { rangeId, start: new Uint8Array(0), end: undefined, generation: 1, replicas },
    leaseHolder: 1,
    load: { bytes: 10 },
  })
}

const whole = 'eu-0-0 eu-1-0 eu-2-0 us-0-0? asia-0-0?'

/** The plan of one range of a cluster, each move as `kind remove>add`. */
function movesOf(change: (fleet: Fleet) => void, by = policy): { moves: string[]; plan: Plan } {
  const { fleet } = cluster()
  change(fleet)
  const made = plan(fleet.snapshot(), { goals: [], ...by })
  const moves = made.moves.map(
    ({ kind, add, remove }) => `${kind} ${remove?.nodeId ?? ''}>${add?.nodeId.split('-')[0] ?? ''}`,
  )
  return { moves, plan: made }
}

suite('replicas without a vote', () => {
  const cases: [what: string, where: string, change: (fleet: Fleet) => void, expected: string][] = [
    ['stay where they are wanted', whole, () => {}, ''],
    ['are added where one is missing', 'eu-0-0 eu-1-0 eu-2-0 us-0-0?', () => {}, 'addNonVoter >asia'],
    [
      'are replaced when they are lost, where the rules want them',
      whole,
      (fleet) => setNode(fleet, 'us-0-0', { dead: true }),
      'replaceNonVoter us-0-0>us',
    ],
    [
      'leave nodes that are to be emptied',
      whole,
      (fleet) => setNode(fleet, 'asia-0-0', { draining: true }),
      'replaceNonVoter asia-0-0>asia',
    ],
    [
      'leave where the rules forbid them',
      'eu-0-0 eu-1-0 eu-2-0 us-0-0? eu-2-1?',
      () => {},
      'replaceNonVoter eu-2-1>asia',
    ],
    ['go when they are too many', `${whole} us-1-0?`, () => {}, 'remove us-1-0>'],
    [
      'that are lost go first of those too many',
      `${whole} us-1-0?`,
      (fleet) => setNode(fleet, 'us-0-0', { dead: true }),
      'remove us-0-0>',
    ],
    [
      'wait until the voters want nothing',
      'eu-0-0 eu-1-0 eu-2-0 us-0-0?',
      (fleet) => setNode(fleet, 'eu-2-0', { dead: true }),
      'replace eu-2-0>eu',
    ],
  ]
  for (const [what, where, change, expected] of cases) {
    test(what, () => {
      const { moves, plan: made } = movesOf((fleet) => {
        setRange(fleet, 1, where)
        change(fleet)
      })
      assert.deepEqual(moves, expected === '' ? [] : [expected])
      assert.equal(made.blockedCount, 0)
    })
  }

  test('never count for a quorum: two voters of three dead is none, whoever else is there', () => {
    const { plan: made } = movesOf((fleet) => {
      setRange(fleet, 1, whole)
      for (const nodeId of ['eu-1-0', 'eu-2-0']) setNode(fleet, nodeId, { dead: true })
    })
    assert.deepEqual(made.moves, [])
    assert.match(made.blocked[0]?.why ?? '', /only 1 of 3 voters are alive/)
  })

  test('the proof of their moves is one of the voters alone', () => {
    const { plan: made } = movesOf((fleet) => {
      setRange(fleet, 1, whole)
      setNode(fleet, 'us-0-0', { dead: true })
    })
    assert.deepEqual(
      made.moves[0]?.proof.map(({ step, voters, liveVoters }) => [step, voters, liveVoters]),
      [
        ['now', 3, 3],
        ['addLearner', 3, 3],
        ['remove', 3, 3],
      ],
    )
  })

  test('get a vote where no other node is left for a voter, and where the next loss would stop the range', () => {
    const anywhere: Partial<PlacementPolicy> = {
      rules: new RuleBook({ rules: [{ id: 'reads', scope: { type: 'cluster' }, nonVoters: 1 }] }),
    }
    const small = new Fleet({ deadAfterMs: 1000 })
    for (const name of ['eu-0-0', 'eu-1-0', 'eu-2-0', 'us-0-0'])
      setNode(small, name, { dead: name === 'eu-2-0' })
    setRange(small, 1, 'eu-0-0 eu-1-0 eu-2-0 us-0-0?')
    const promoted = plan(small.snapshot(), anywhere).moves[0]
    assert.deepEqual([promoted?.kind, promoted?.add?.replicaId, promoted?.bytes], ['replace', 4, 0])
    // Two of three voters are alive: none is to spare, and a copy would take its time.
    const urgent = movesOf((fleet) => {
      setRange(fleet, 1, 'eu-0-0 eu-1-0 eu-2-0 us-0-0?')
      setNode(fleet, 'eu-2-0', { dead: true })
    }, anywhere).plan.moves[0]
    assert.equal(urgent?.add?.replicaId, 4)
    assert.match(urgent?.reason ?? '', /non-voter on us-0-0 can vote at once/)
    // Five of them bear another loss: a copy comes, and the reads go on.
    const patient = movesOf(
      (fleet) => {
        setRange(fleet, 1, 'eu-0-0 eu-1-0 eu-2-0 eu-0-1 eu-1-1 us-0-0?')
        setNode(fleet, 'eu-2-0', { dead: true })
      },
      { ...anywhere, replicationFactor: 5 },
    ).plan.moves[0]
    assert.equal(patient?.add?.replicaId, undefined)
  })

  test('a learner that a move left behind takes the place of a voter, and those for reads stay', () => {
    const { moves } = movesOf((fleet) => {
      setRange(fleet, 1, 'eu-0-0 eu-1-0 us-0-0? asia-0-0? eu-2-1?')
    })
    assert.deepEqual(moves, ['add >eu'])
  })

  test('are spread after the voters, and never at their cost', () => {
    const fleet = new Fleet({ deadAfterMs: 1000 })
    for (let zone = 0; zone < 3; zone++) for (let i = 0; i < 2; i++) setNode(fleet, `eu-${zone}-${i}`, {})
    // As many pairs share a zone as must, but two voters are one of them.
    setRange(fleet, 1, 'eu-0-0 eu-0-1 eu-1-0 eu-1-1? eu-2-0? eu-2-1?')
    const rules = new RuleBook({ rules: [{ id: 'reads', scope: { type: 'cluster' }, nonVoters: 3 }] })
    const goals = [spread('zone')]
    setRange(fleet, 2, 'eu-0-0 eu-1-0 eu-2-0 eu-2-1? eu-0-1? eu-1-1?')
    const result = plan(fleet.snapshot(), { rules, goals })
    assert.ok(result.moves.every(({ rangeId }) => rangeId === 1))
    // Every node has a replica of it: it falls short, and no move brings it nearer.
    const bound = result.bounds.goals.find(({ name }) => name === 'spread(zone)')
    assert.deepEqual([bound?.lowerBoundMoves, bound?.hopeless], [0, 1])
  })

  test('are balanced with all others', () => {
    const { fleet } = cluster()
    for (let rangeId = 1; rangeId <= 24; rangeId++) setRange(fleet, rangeId, whole)
    const result = whatIf(fleet.snapshot(), {}, { policy })
    assert.equal(result.settled, true)
    for (const region of ['us', 'asia']) {
      const counts = result.after.stores
        .filter(({ name }) => name.startsWith(region))
        .map(({ replicas }) => replicas)
      assert.deepEqual(counts, [4, 4, 4, 4, 4, 4])
    }
  })

  test('whatever the start: the rules hold in the end, whichever order the ranges were told in', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new SeededRandom(seed)
      const tell = Array.from({ length: 12 }, (_, i) => {
        const { names } = cluster()
        const chosen = shuffled(random, names).slice(0, 3 + random.integer(4))
        const where = chosen.map((name, k) => (k < 3 ? name : `${name}?`)).join(' ')
        return (fleet: Fleet) => setRange(fleet, i + 1, where)
      })
      const drained = cluster().names[random.integer(18)] as string
      const build = (order: readonly ((fleet: Fleet) => void)[]): PlacementSnapshot => {
        const { fleet } = cluster()
        setNode(fleet, drained, { draining: true })
        for (const each of order) each(fleet)
        return fleet.snapshot()
      }
      const snapshot = build(tell)
      assert.deepEqual(plan(build(shuffled(random, tell)), policy), plan(snapshot, policy))
      const result = whatIf(snapshot, {}, { policy })
      assert.equal(result.settled, true, `seed ${seed}`)
      assert.equal(result.blockedCount, 0, `seed ${seed}: ${JSON.stringify(result.blocked)}`)
      assert.deepEqual([result.after.underReplicated, result.after.lackNonVoters], [0, 0])
      for (const { name, replicas, leases } of result.after.stores) {
        if (name === drained) assert.equal(replicas, 0)
        if (!name.startsWith('eu')) assert.equal(leases, 0, 'whoever does not vote leads nothing')
      }
    }
  })

  test('what-if answers for them: a region lost, and another rule', () => {
    const { fleet } = cluster()
    for (let rangeId = 1; rangeId <= 10; rangeId++) setRange(fleet, rangeId, whole)
    const snapshot = fleet.snapshot()
    const lost = whatIf(snapshot, { loseDomain: { tier: 'region', value: 'us' } }, { policy })
    assert.deepEqual([lost.changed.lackNonVoters, lost.changed.withoutQuorum], [10, 0])
    assert.ok(lost.explained.some((line) => line.startsWith('10 ranges lack non-voters')))
    const fewer = whatIf(snapshot, { policy: { rules: book(1) } }, { policy: { ...policy, goals: [] } })
    assert.equal(fewer.copiedBytes, 0)
    assert.equal(fewer.after.lackNonVoters, 0)
    assert.deepEqual(
      fewer.moves.filter(({ kind }) => kind !== 'remove' && kind !== 'transferLease'),
      [],
    )
  })

  test('are explained: what a range needs, and why not there, for either kind', () => {
    const { fleet } = cluster()
    setRange(fleet, 1, 'eu-0-0 eu-1-0 eu-2-0 us-0-0?')
    const explained = explainRange(fleet.snapshot(), 1, policy)
    assert.equal(explained.need, 'another non-voter')
    assert.equal(explained.replicas[3]?.status, 'non-voter')
    assert.match(
      explained.others.find(({ nodeId }) => nodeId === 'asia-0-0')?.why ?? '',
      /for a voter: .*all voters are on region=eu; for a non-voter: /,
    )
    assert.match(
      explained.others.find(({ nodeId }) => nodeId === 'eu-0-1')?.why ?? '',
      /for a non-voter: .*'reads elsewhere'/,
    )
    const { waiting } = explainNode(fleet.snapshot(), 'us-0-0', policy)
    assert.deepEqual(waiting, [{ need: 'another non-voter', count: 1, examples: [1] }])
  })

  test('rules that ask for more of them than there are are refused by name', () => {
    const bad = (): RuleBook =>
      new RuleBook({
        rules: [
          { id: 'few', scope: { type: 'cluster' }, nonVoters: 1 },
          {
            id: 'many',
            scope: { type: 'table', tableId: 1 },
            require: [{ match: on('us'), role: 'nonVoter', count: 2 }],
          },
        ],
      })
    assert.throws(bad, /'many' and 'few' exclude each other: .* takes 2 non-voters, and a range has 1/)
  })
})
