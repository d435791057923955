import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  comparePositions,
  type MemberLife,
  type MemberStatus,
  type PrimaryProgress,
  PrimaryRules,
  type PrimaryStep,
  QuorumSet,
  ReplicaSetMember,
  type SetChange,
  SetChangeRules,
  type SetStep,
  type SetView,
} from '../../../src/placement/index.ts'
import { lives } from './support/set-world.ts'

const six = ['a', 'b', 'c', 'd', 'e', 'f']
/** A node in the first life of its data. */
function life(nodeId: string): MemberLife {
  return { nodeId, incarnation: 1 }
}

const aurora = { writeQuorum: 4, readQuorum: 3 }

/** A set as it may have become by some changes. */
const anySet = fc
  .record({
    copies: fc.integer({ min: 1, max: 6 }),
    doubled: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
    write: fc.float({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ copies, doubled, write }) => {
    const least = Math.floor(copies / 2) + 1
    const writeQuorum = least + Math.round(write * (copies - least))
    let set = QuorumSet.of(lives(six.slice(0, copies)), { writeQuorum, readQuorum: copies - writeQuorum + 1 })
    for (let i = 0; i < copies; i++)
      if (doubled[i] === true) set = set.withCandidate(six[i] as string, life(`x${i}`))
    return set
  })

/** Every choice of one member from each slot. */
function groups(set: QuorumSet): string[][] {
  return set.slots.reduce<string[][]>(
    (chosen, slot) => chosen.flatMap((each) => slot.map(({ nodeId }) => [...each, nodeId])),
    [[]],
  )
}

suite('a quorum set', () => {
  test('counts slots as if it counted every group', () => {
    fc.assert(
      fc.property(anySet, fc.integer({ min: 0, max: 2 ** 12 - 1 }), (set, bits) => {
        const names = new Set(set.members.map(({ nodeId }) => nodeId).filter((_, i) => (bits >> i) & 1))
        const votes = (group: string[]): number => group.filter((nodeId) => names.has(nodeId)).length
        const all = groups(set)
        const has = (nodeId: string): boolean => names.has(nodeId)
        assert.equal(
          set.isWritten(has),
          all.every((group) => votes(group) >= set.writeQuorum),
        )
        assert.equal(
          set.isRead(({ nodeId }) => has(nodeId)),
          all.some((group) => votes(group) >= set.readQuorum),
        )
        // Fenced: whoever is left cannot write.
        assert.equal(set.isFenced(has), !set.isWritten((nodeId) => !names.has(nodeId)))
      }),
    )
  })

  test('meets the quorums of its own epoch, and those of the next, forward and back', () => {
    const bits = fc.integer({ min: 0, max: 2 ** 13 - 1 })
    fc.assert(
      fc.property(anySet, bits, bits, fc.nat(5), (before, wrote, reads, at) => {
        const slot = before.slots[at % before.slots.length] ?? []
        const nexts =
          slot.length === 1
            ? [before.withCandidate(slot[0]?.nodeId as string, life('new'))]
            : slot.map(({ nodeId }) => before.settled(nodeId))
        const names = [...before.members.map(({ nodeId }) => nodeId), 'new']
        const pick = (mask: number): Set<string> => new Set(names.filter((_, i) => (mask >> i) & 1))
        const writers = pick(wrote)
        if (!before.isWritten((nodeId) => writers.has(nodeId))) return
        const readers = pick(reads)
        for (const after of [before, ...nexts]) {
          // What a complete candidate holds, it has taken over: it counts among the writers.
          const candidates = after.members.filter(({ joined }) => joined > 1).map(({ nodeId }) => nodeId)
          const holds = new Set([...writers, ...candidates])
          if (!after.isRead(({ nodeId }) => readers.has(nodeId))) continue
          const meets = after.members.some(({ nodeId }) => readers.has(nodeId) && holds.has(nodeId))
          assert.ok(meets, `${[...readers]} under epoch ${after.epoch} sees nothing of ${[...writers]}`)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('while one is suspect needs both quorums for a write, and is the old set again when it is undone', () => {
    const set = QuorumSet.of(lives(six), aurora)
    const both = set.withCandidate('f', life('g'))
    const written = (names: string): boolean => both.isWritten((nodeId) => names.includes(nodeId))
    assert.ok(written('abcd'))
    assert.ok(written('abcfg'))
    assert.ok(!written('abcf'), 'four of abcdef, three of abcdeg')
    assert.ok(!written('abcg'))
    assert.deepEqual([both.epoch, both.member('g')], [2, { nodeId: 'g', incarnation: 1, joined: 2 }])
    const undone = both.settled('f')
    assert.deepEqual(undone.slots, set.slots)
    assert.equal(undone.epoch, 3)
    const again = undone.withCandidate('f', life('g'))
    assert.equal(again.member('g')?.joined, 4, 'what it took over for the first time does not count')
    const twice = both.withCandidate('e', life('h'))
    assert.deepEqual(
      groups(twice)
        .map((group) => group.join(''))
        .sort(),
      ['abcdef', 'abcdeg', 'abcdhf', 'abcdhg'],
    )
    assert.throws(() => both.withCandidate('f', life('h')), { code: 'INVALID_ARGUMENT' })
    assert.throws(() => set.withCandidate('a', life('b')), { code: 'INVALID_ARGUMENT' })
    assert.throws(() => set.settled('a'), { code: 'INVALID_ARGUMENT' })
    assert.throws(
      () => QuorumSet.of(lives(six), { writeQuorum: 3, readQuorum: 4 }),
      /write quorums that meet/,
    )
    assert.throws(
      () => QuorumSet.of(lives(six), { writeQuorum: 4, readQuorum: 2 }),
      /meets every write quorum/,
    )
  })
})

suite('a member', () => {
  const set = QuorumSet.of(lives('abc'))

  test('obeys the newest epoch and the newest primary, and says what is older', () => {
    const member = new ReplicaSetMember('a', 1)
    assert.throws(() => member.check(1, 1), { code: 'CONFLICT' })
    member.install(set)
    member.installSequence(4)
    member.check(1, 4)
    const next = set.withCandidate('c', life('d'))
    member.install(next)
    member.install(next)
    assert.throws(() => member.install(set), { code: 'STALE_EPOCH' })
    assert.throws(() => member.installSequence(3), { code: 'STALE_SEQUENCE' })
    assert.throws(() => member.check(1, 4), { code: 'STALE_EPOCH' })
    assert.throws(() => member.check(2, 3), { code: 'STALE_SEQUENCE' })
    assert.throws(() => member.check(3, 4), { code: 'CONFLICT' })
    member.check(2, 4)
    const restarted = new ReplicaSetMember('a', 1, member.state)
    assert.deepEqual([restarted.epoch, restarted.sequence, restarted.isComplete], [2, 4, true])
  })

  test('takes no other set of the epoch that it has', () => {
    const member = new ReplicaSetMember('a', 1)
    member.install(set.withCandidate('b', life('d')))
    // Recovered without the epoch that this one has, the control plane makes another one of the same number.
    assert.throws(() => member.install(set.withCandidate('b', life('e'))), { code: 'CONFLICT' })
    member.install(set.withCandidate('b', life('d')))
    assert.equal(member.epoch, 2)
  })

  test('counts for reads only after it has taken over what was before, each time that it joins', () => {
    const next = set.withCandidate('c', life('d'))
    const candidate = new ReplicaSetMember('d', 1)
    candidate.install(next)
    assert.ok(!candidate.isComplete)
    candidate.complete(1)
    assert.ok(!candidate.isComplete, 'of another membership')
    candidate.complete(2)
    assert.ok(candidate.isComplete)
    candidate.install(next.settled('c'))
    assert.ok(!candidate.isComplete)
    candidate.install(next.settled('c').withCandidate('b', life('d')))
    assert.ok(!candidate.isComplete)
  })

  test('is none any more when it has lost its data, and may come again', () => {
    const lost = new ReplicaSetMember('a', 2)
    assert.throws(() => lost.install(set), { code: 'QUARANTINED', details: { member: 1, here: 2 } })
    assert.equal(lost.epoch, 0)
    assert.throws(() => lost.check(1, 0), { code: 'CONFLICT' })
    const without = set.withCandidate('a', life('d')).settled('d')
    lost.install(without)
    lost.install(without.withCandidate('b', { nodeId: 'a', incarnation: 2 }))
    assert.deepEqual([lost.epoch, lost.isComplete], [4, false])
  })

  test('is compared by the sequence of its last record first', () => {
    assert.ok(comparePositions({ sequence: 2, index: 1 }, { sequence: 1, index: 9 }) > 0)
    assert.ok(comparePositions({ sequence: 2, index: 1 }, { sequence: 2, index: 2 }) < 0)
    assert.equal(comparePositions({ sequence: 2, index: 2 }, { sequence: 2, index: 2 }), 0)
  })
})

function status(change: Partial<MemberStatus> = {}): MemberStatus {
  return {
    incarnation: 1,
    epoch: 1,
    sequence: 1,
    completeFor: 1,
    position: { sequence: 1, index: 10 },
    serving: false,
    ...change,
  }
}

function view(
  set: QuorumSet,
  members: Record<string, Partial<MemberStatus>>,
  change: Partial<SetView['record']> = {},
): SetView {
  return {
    record: { set, unsealed: [], primary: 'a', sequence: 1, ...change },
    members: new Map(Object.entries(members).map(([nodeId, each]) => [nodeId, status(each)])),
  }
}

/** Members by name, all with the same status. */
function all(names: string, change: Partial<MemberStatus> = {}): Record<string, Partial<MemberStatus>> {
  return Object.fromEntries(names.split('').map((nodeId) => [nodeId, change]))
}

suite('a change of members', () => {
  const rules = new SetChangeRules()
  const change: SetChange = { suspect: 'f', candidate: 'g', incarnation: 1, mayReturn: true, begun: false }
  const set = QuorumSet.of(lives(six), aurora)
  const both = set.withCandidate('f', life('g'))
  const brief = (step: SetStep): string => {
    switch (step.type) {
      case 'epoch':
        return `epoch ${step.set.slots.map((slot) => slot.map(({ nodeId }) => nodeId).join('')).join(' ')}`
      case 'install':
        return `install ${step.nodeIds.join('')}`
      case 'hydrate':
        return `hydrate ${step.member.nodeId}`
      case 'done':
        return `done, ${step.outcome}`
      default:
        return `${step.type}: ${step.why}`
    }
  }
  test('is over when the suspect is left alone after the candidate stood beside it', () => {
    const step = rules.next({ ...change, begun: true }, view(both.settled('f'), all('abcdef', { epoch: 3 })))
    assert.equal(brief(step), 'done, f is back and stays, epoch 3')
  })

  const unsealed = { unsealed: [set] }
  const cases: [what: string, view: SetView, forward: RegExp, back: RegExp][] = [
    [
      'begins with both',
      view(set, all('abcde')),
      /^epoch a b c d e fg$/,
      /^done, f stays, epoch 1; nothing is left/,
    ],
    [
      'tells the members',
      view(both, { ...all('ab', { epoch: 2 }), ...all('cde') }, unsealed),
      /^install cdefg$/,
      /^epoch a b c d e f$/,
    ],
    [
      'seals what nobody can write in any more',
      view(both, { ...all('abc', { epoch: 2 }), ...all('de') }, unsealed),
      /^seal/,
      /^epoch a b c d e f$/,
    ],
    [
      'tells the candidate before it takes over',
      view(both, all('abcde', { epoch: 2 })),
      /^install fg$/,
      /^epoch a b c d e f$/,
    ],
    [
      'has the candidate take over',
      view(both, { ...all('abcde', { epoch: 2 }), g: { epoch: 2, completeFor: 0 } }),
      /^hydrate g$/,
      /^epoch a b c d e f$/,
    ],
    [
      'has it take the place when it is complete',
      view(both, { ...all('abcde', { epoch: 2 }), g: { epoch: 2, completeFor: 2 } }),
      /^epoch a b c d e g$/,
      /^epoch a b c d e f$/,
    ],
    [
      'has the suspect stay that is back as far as anybody',
      view(both, { ...all('abcdef', { epoch: 2 }), g: { epoch: 2, completeFor: 0 } }),
      /^epoch a b c d e f$/,
      /^epoch a b c d e f$/,
    ],
    [
      'waits for a suspect that lags',
      view(both, {
        ...all('abcde', { epoch: 2 }),
        f: { epoch: 2, position: { sequence: 1, index: 9 } },
        g: { epoch: 2, completeFor: 0 },
      }),
      /^hydrate g$/,
      /^epoch a b c d e f$/,
    ],
    [
      'ends when the last epoch is sealed',
      view(both.settled('g'), { ...all('abcdeg', { epoch: 3 }) }, { unsealed: [both] }),
      /^seal/,
      /^seal/,
    ],
    [
      'is over',
      view(both.settled('g'), {}),
      /^done, g has taken the place of f/,
      /^done, g had taken .* and stays/,
    ],
    [
      'does not take the primary away',
      view(set, all('abcde'), { primary: 'f' }),
      /^abandon: f is primary/,
      /^done/,
    ],
    [
      'nor in the middle',
      view(both, all('abcdeg'), { primary: 'f' }),
      /^abandon: f is primary/,
      /^epoch a b c d e f$/,
    ],
    [
      'leaves alone what somebody else began',
      view(set.withCandidate('f', life('h')), {}),
      /^abandon: h stands beside f already/,
      /^done, f stays/,
    ],
    [
      'leaves alone what is nowhere any more',
      view(QuorumSet.of(lives('abc')), {}),
      /^abandon: neither f nor g/,
      /^done/,
    ],
    [
      'takes nobody who is in another slot',
      view(QuorumSet.of(lives('agf')), {}),
      /^abandon: g is in another slot/,
      /^done, f stays/,
    ],
  ]
  for (const [what, given, forward, back] of cases) {
    test(what, () => {
      assert.match(brief(rules.next(change, given)), forward)
      assert.match(brief(rules.undo(change, given)), back)
    })
  }
})

suite('a change of primary', () => {
  const rules = new PrimaryRules()
  const set = QuorumSet.of(lives(six), aurora)
  const brief = (step: PrimaryStep): string => {
    switch (step.type) {
      case 'done':
        return 'done'
      case 'install':
        return `install ${step.nodeIds.join('')}`
      case 'wait':
        return `wait for ${step.waitingFor.join('')}: ${step.why}`
      case 'refuse':
        return `refuse: ${step.why}`
      case 'choose':
        return `choose ${step.nodeId} at ${step.target.index}${step.lossless ? '' : ' with loss'}`
      case 'catchUp':
        return `catchUp ${step.nodeId} from ${step.source} to ${step.position.index}`
      default:
        return `${step.type} ${step.nodeId}`
    }
  }
  const fresh: PrimaryProgress = {
    from: 'a',
    fromSequence: 1,
    stopping: false,
    stoppedAt: undefined,
    sequence: undefined,
    chosen: undefined,
    target: undefined,
    lossless: true,
    passedOver: [],
  }
  const stopped = { ...fresh, stopping: true, stoppedAt: { sequence: 1, index: 12 } }
  const minted = { ...stopped, sequence: 2, chosen: 'b' }
  const planned: [what: string, PrimaryProgress, SetView, expected: RegExp][] = [
    [
      'is done when it is so',
      fresh,
      view(set, { ...all('acdef'), b: { serving: true } }, { primary: 'b' }),
      /^done$/,
    ],
    [
      'waits for a write quorum',
      fresh,
      view(set, all('abc')),
      /^wait for def: a write quorum does not answer/,
    ],
    [
      'waits for a member that is not complete',
      fresh,
      view(set, { ...all('acdef'), b: { completeFor: 0 } }),
      /^wait for b/,
    ],
    [
      'stops nobody for one who is far behind',
      fresh,
      view(set, { ...all('acdef', { position: { sequence: 1, index: 5000 } }), b: {} }),
      /^wait for b: b lags by 4990 records/,
    ],
    ['has the old one step down', fresh, view(set, all('abcdef')), /^stepDown a$/],
    ['has the new one get there', stopped, view(set, all('abcdef')), /^catchUp b from a to 12$/],
    [
      'mints when it is there',
      stopped,
      view(set, all('abcdef', { position: { sequence: 1, index: 12 } })),
      /^mint b$/,
    ],
    [
      'installs until nobody else gets a quorum',
      minted,
      view(set, { ...all('ab', { sequence: 2 }), ...all('cdef') }, { primary: 'b', sequence: 2 }),
      /^install cdef$/,
    ],
    [
      'hears who took writes though it had stopped',
      minted,
      view(
        set,
        { ...all('bc', { sequence: 2 }), d: { sequence: 2, position: { sequence: 1, index: 13 } } },
        { primary: 'b', sequence: 2 },
      ),
      /^choose b at 13$/,
    ],
    [
      'takes that over',
      { ...minted, target: { sequence: 1, index: 13 } },
      view(
        set,
        { ...all('bc', { sequence: 2 }), d: { sequence: 2, position: { sequence: 1, index: 13 } } },
        { primary: 'b', sequence: 2 },
      ),
      /^catchUp b from d to 13$/,
    ],
    [
      'does not begin without it',
      { ...minted, target: { sequence: 1, index: 13 } },
      view(set, all('bcd', { sequence: 2 }), { primary: 'b', sequence: 2 }),
      /^wait for aef: nobody that answers has everything up to index 13/,
    ],
    [
      'then begins',
      { ...minted, target: { sequence: 1, index: 10 } },
      view(set, all('bcd', { sequence: 2 }), { primary: 'b', sequence: 2 }),
      /^promote b$/,
    ],
    [
      'and is done when it serves',
      { ...minted, target: { sequence: 1, index: 10 } },
      view(
        set,
        { ...all('acdef', { sequence: 2 }), b: { sequence: 2, serving: true } },
        { primary: 'b', sequence: 2 },
      ),
      /^done$/,
    ],
    [
      'ends when somebody else was faster',
      minted,
      view(set, all('abcdef'), { sequence: 3 }),
      /^refuse: somebody else/,
    ],
    [
      'needs somebody who steps down',
      fresh,
      view(set, all('abcdef'), { primary: undefined }),
      /^refuse: .* emergency/,
    ],
    [
      'stops nobody who has become primary again meanwhile',
      fresh,
      view(set, all('abcdef'), { sequence: 2 }),
      /^refuse: .* emergency/,
    ],
    [
      'takes no candidate',
      fresh,
      view(QuorumSet.of(lives('acd')).withCandidate('c', life('b')), all('abcd', { completeFor: 2 })),
      /^refuse: b is a candidate that may still go/,
    ],
    ['needs a member', fresh, view(QuorumSet.of(lives('ac')), all('ac')), /^refuse: b is no member/],
  ]
  for (const [what, progress, given, expected] of planned) {
    test(`that is planned ${what}`, () => {
      const step = rules.next({ to: 'b', emergency: false, force: false }, progress, given)
      assert.match(brief(step), expected)
    })
  }

  const begun = { ...fresh, sequence: 2 }
  const chosen = { ...begun, chosen: 'b', target: { sequence: 1, index: 10 } }
  const record = { sequence: 2, primary: undefined }
  const knows = (names: string, change: Partial<MemberStatus> = {}): Record<string, Partial<MemberStatus>> =>
    all(names, { sequence: 2, ...change })
  const emergency: [what: string, PrimaryProgress, SetView, expected: RegExp, force?: boolean][] = [
    [
      'is refused when a read quorum does not answer',
      fresh,
      view(set, all('bc')),
      /^refuse: only b, c of 6 answers completely, a read quorum is 3: every write after index 10 that a, d, e, f acknowledged may be lost/,
    ],
    [
      'is refused with members that are not complete',
      fresh,
      view(set, { ...all('bc'), d: { completeFor: 0 } }),
      /^refuse: only b, c/,
    ],
    ['is forced with them', fresh, view(set, all('bc')), /^mint/, true],
    ['is refused when nobody answers at all', fresh, view(set, {}), /^refuse: no member/, true],
    ['mints first', fresh, view(set, all('bcd')), /^mint undefined$/],
    [
      'installs at a read quorum',
      begun,
      view(set, { ...knows('bc'), ...all('d') }, record),
      /^install adef$/,
    ],
    [
      'chooses the most advanced',
      begun,
      view(set, { ...knows('bc'), ...knows('d', { position: { sequence: 1, index: 11 } }) }, record),
      /^choose d at 11$/,
    ],
    [
      'by the sequence of its last record',
      begun,
      view(
        set,
        {
          ...knows('b', { position: { sequence: 0, index: 99 } }),
          ...knows('cd', { position: { sequence: 1, index: 3 } }),
        },
        record,
      ),
      /^choose c at 3$/,
    ],
    [
      'chooses nobody who does not know the sequence',
      begun,
      view(set, { ...knows('bcd'), e: { position: { sequence: 1, index: 99 } } }, record),
      /^choose b at 10$/,
    ],
    [
      'by force of those that answer',
      begun,
      view(set, knows('bc'), record),
      /^choose b at 10 with loss$/,
      true,
    ],
    [
      'by force not before all that answer know it',
      begun,
      view(set, { ...knows('b'), ...all('c') }, record),
      /^install/,
      true,
    ],
    [
      'has the chosen one take over',
      { ...chosen, target: { sequence: 1, index: 11 } },
      view(set, { ...knows('bc'), ...knows('d', { position: { sequence: 1, index: 12 } }) }, record),
      /^catchUp b from d to 12$/,
    ],
    [
      'has it not begin when whoever was further is gone',
      { ...chosen, target: { sequence: 1, index: 11 } },
      view(set, knows('bcef'), record),
      /^wait for ad: nobody that answers has everything up to index 11, without which b does not begin$/,
    ],
    [
      'chooses nobody from outside of the newest set, but hears them',
      begun,
      view(
        set.withCandidate('f', life('g')).settled('g'),
        {
          ...knows('bcd'),
          f: { sequence: 2, position: { sequence: 1, index: 12 } },
          g: { sequence: 2, completeFor: 2 },
        },
        { ...record, unsealed: [set.withCandidate('f', life('g'))] },
      ),
      /^choose b at 12$/,
    ],
    ['has it begin', chosen, view(set, knows('bcd'), record), /^promote b$/],
    ['waits for one that does not answer', chosen, view(set, {}, record), /^wait for b/],
    [
      'hears every epoch that may still count',
      fresh,
      view(set.withCandidate('f', life('g')).settled('g'), all('bcd'), {
        unsealed: [QuorumSet.of(lives('xyz'))],
      }),
      /^refuse/,
    ],
  ]
  for (const [what, progress, given, expected, force = false] of emergency) {
    test(`in an emergency ${what}`, () => {
      assert.match(brief(rules.next({ to: undefined, emergency: true, force }, progress, given)), expected)
    })
  }

  test('in an emergency takes who is wanted, if that one answers', () => {
    const given = view(set, knows('bcd'), record)
    const to = (nodeId: string, progress: PrimaryProgress): string =>
      brief(rules.next({ to: nodeId, emergency: true, force: false }, progress, given))
    assert.equal(to('c', begun), 'choose c at 10')
    assert.equal(to('e', begun), 'choose b at 10')
    assert.match(to('x', fresh), /^refuse: x is no member/)
  })
})
