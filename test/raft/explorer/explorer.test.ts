import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { pick, SeededRandom } from '../../../src/core/random.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import { StateHash } from '../../../src/simulation/state-hash.ts'
import type { CoreClass } from '../support/cluster.ts'
import { mutants } from '../support/mutants.ts'
import { type Bounds, defaultBounds } from './bounds.ts'
import { describeMember, describeMessage } from './describe.ts'
import { type Member, Members, type Outcome } from './member.ts'
import { type Action, RaftModel, type World } from './model.ts'
import { runWorld } from './run.ts'
import { render } from './shape.ts'
import { quickWorlds } from './worlds.ts'

suite('every state that replicas can reach, with', () => {
  for (const world of quickWorlds) {
    test(world.name, () => {
      const report = runWorld(world)
      assert.equal(report.violation, undefined, report.violation?.trace.join('\n'))
      assert.ok(report.complete && report.states > 200, `${report.states} states`)
    })
  }
})

/** Planted bugs, each with a world so small that it shows within a second. */
const shallow: readonly (readonly [bug: string, world: string])[] = [
  ['the leader counts itself before its write is durable', 'one leader and slow disks'],
  ['promises leave before they are durable', 'elections and a crash'],
  ['the vote is not written with the term', 'elections and a crash'],
  ['stepping down clears the vote', 'PreVote and CheckQuorum'],
  ['promises wait for the oldest write under way, not the last', 'two leaders and slow disks'],
  ['entries of earlier terms are committed by counting', 'two leaders and slow disks'],
  ['reads are served before the first commit of the term', 'a read'],
  ['reads are served without a confirmed round', 'a read'],
  ['the quorum index is the highest, not the majority', 'two leaders'],
  ['a stale append truncates', 'two leaders'],
  ['a truncated configuration stays in force', 'a membership change'],
  ['a leader overwrites the votes of its term: every candidate gets one', 'three leaders'],
  ['votes go to any log', 'a membership change'],
  ['the own vote counts twice', 'elections and a crash'],
  ['entries are applied before they are durable', 'one leader and slow disks'],
  ['a leader that lost its role keeps acting on acknowledgements', 'three leaders'],
  ['learners count', 'a membership change'],
  ['the hard state is not written before a request for votes', 'elections and a crash'],
]

suite('the explorer catches', () => {
  for (const [name, place] of shallow) {
    test(name, () => {
      const Core = mutants.find((mutant) => mutant.name === name)?.Core
      const world = quickWorlds.find((other) => other.name === place)
      assert.ok(Core !== undefined && world !== undefined)
      const { violation } = runWorld(world, { Core })
      assert.ok(violation !== undefined, 'nothing was noticed')
      assert.notEqual(violation.invariant, 'exception', violation.message)
      assert.ok(violation.steps <= 15 && violation.trace.length > violation.steps)
    })
  }
})

/** Worlds in which everything that the model knows happens, to walk through at random. */
const wide: Bounds = {
  ...defaultBounds,
  terms: 4,
  proposals: 3,
  changes: 2,
  crashes: 3,
  messages: 5,
  losses: 2,
  duplicates: 2,
  heartbeats: 4,
  reads: 1,
  transfers: 1,
  preVote: true,
  checkQuorum: true,
}

const wideWorlds: readonly Bounds[] = [
  wide,
  { ...wide, preVote: false, checkQuorum: false },
  { ...wide, turns: true },
  { ...wide, elected: true, learners: 1, spares: 1, quickDisks: true },
  { ...wide, elected: true, learners: 1, changes: 0, joints: 2, quickDisks: true },
  { ...wide, elected: true, changes: 0, joints: 1, explicitLeave: true },
]

interface Walk {
  readonly model: RaftModel
  readonly random: SeededRandom
  world: World
}

function start(bounds: Bounds, seed: number, Core?: CoreClass): Walk {
  const model = new RaftModel(bounds, Core === undefined ? {} : { Core })
  return { model, random: new SeededRandom(seed), world: model.initial() }
}

/** Crashes and losses are many, and end what was going on. */
function draw({ random, model, world }: Walk, actions: readonly Action[]): Action {
  const calm = actions.filter((action) => {
    const kind = model.inputOf(world, action)?.input.kind ?? 'lose'
    return !['crash', 'lose', 'timeout', 'age', 'change'].includes(kind)
  })
  return pick(random, calm.length > 0 && random.float() < 0.8 ? calm : actions)
}

function key(model: RaftModel, world: World): string {
  const digest = new Uint32Array(4)
  const hash = new StateHash()
  for (const word of model.fingerprint(world)) hash.word(word)
  hash.digest(digest)
  return digest.join('-')
}

suite('what the explorer takes for equal', () => {
  /** Walks through a world and, beside it, through a mirror image. Throws when what can happen is not the same in both. */
  const walkMirrored = (bounds: Bounds, seed: number, Core?: CoreClass): number => {
    const walk = start(bounds, seed, Core)
    const { model, random } = walk
    let mirror = walk.world
    let different = 0
    for (let step = 0; step < 60; step++) {
      const actions = [...model.actions(walk.world)]
      if (actions.length === 0) break
      const images = [...model.actions(mirror)].map((action) => model.next(mirror, action))
      const nexts = actions.map((action) => model.next(walk.world, action))
      const keys = (worlds: readonly World[]): string[] =>
        [...new Set(worlds.map((world) => key(model, world)))].sort()
      assert.deepEqual(keys(images), keys(nexts))
      walk.world = model.next(walk.world, draw(walk, actions))
      const found = key(model, walk.world)
      mirror = pick(
        random,
        images.filter((image) => key(model, image) === found),
      )
      if (mirror.members.join() !== walk.world.members.join()) different++
    }
    return different
  }

  test('are mirror images: the same can happen in both', () => {
    let different = 0
    for (const bounds of wideWorlds) {
      for (let seed = 1; seed <= 5; seed++) different += walkMirrored(bounds, seed)
    }
    assert.ok(different > 200, `only ${different} steps with another image`)
  })

  test('are not cores that look at the numbers of ids', () => {
    const Partial: CoreClass = class extends RaftCore {
      override isVoteFree(candidate: number): boolean {
        return candidate !== 2 && super.isVoteFree(candidate)
      }
    }
    assert.throws(() => {
      for (let seed = 1; seed <= 20; seed++) walkMirrored(wide, seed, Partial)
    }, assert.AssertionError)
  })

  test('are replicas that will do the same, whatever their clocks and counters are', () => {
    const same = (id: number): number => id
    const describe = ({ member, sent }: Outcome): string[] => [
      render(describeMember(member), same),
      ...sent.map((message) => render(describeMessage(message), same)).sort(),
    ]
    let steps = 0
    for (const [i, bounds] of wideWorlds.entries()) {
      for (let seed = 1; seed <= 5; seed++) {
        const walk = start(bounds, seed + 100 * i)
        const { model } = walk
        const members = new Members(bounds, RaftCore)
        // Beside those of the catalog, which stand for many: each of these has gone its own way from the start.
        const real = bounds.elected ? members.elected() : members.initial()
        for (let step = 0; step < 80; step++) {
          const actions = [...model.actions(walk.world)]
          if (actions.length === 0) break
          const action = draw(walk, actions)
          const at = model.inputOf(walk.world, action)
          if (at !== undefined && action.kind !== 'lose') {
            const stand = model.member(walk.world.members[at.node] as number)
            const expected = members.step(stand, at.input, action.mirrored)
            const outcome = members.step(real[at.node] as Member, at.input, action.mirrored)
            assert.deepEqual(describe(outcome), describe(expected))
            real[at.node] = outcome.member
            steps++
          }
          walk.world = model.next(walk.world, action)
        }
      }
    }
    assert.ok(steps > 1_000, `only ${steps} steps`)
  })

  test('and leaves out nothing: without mirror images there are up to six times as many states', () => {
    const bounds: Bounds = {
      ...defaultBounds,
      terms: 1,
      proposals: 1,
      changes: 0,
      crashes: 0,
      messages: 2,
      losses: 0,
      duplicates: 0,
      heartbeats: 0,
    }
    const merged = runWorld({ name: '', bounds })
    const all = runWorld({ name: '', bounds }, { symmetry: false })
    assert.ok(merged.complete && all.complete)
    assert.ok(all.states > merged.states * 5 && all.states <= merged.states * 6)
    assert.equal(all.depth, merged.depth)
  })
})
