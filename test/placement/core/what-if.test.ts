import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { KeelsonError } from '../../../src/core/errors.ts'
import { explainNode, nodeText } from '../../../src/placement/core/explain-node.ts'
import { balance } from '../../../src/placement/core/goals/balance.ts'
import { spread } from '../../../src/placement/core/goals/spread.ts'
import { drawClusters } from '../../../src/placement/core/picture.ts'
import { diffPlans, planText } from '../../../src/placement/core/plan-diff.ts'
import { plan } from '../../../src/placement/core/planner.ts'
import type { PlacementPolicy } from '../../../src/placement/core/policy.ts'
import { fullest, summarize } from '../../../src/placement/core/summary.ts'
import { whatIf } from '../../../src/placement/core/what-if.ts'
import { buildSnapshot } from '../../../src/placement/index.ts'
import { Model } from '../support/cluster.ts'
import { plainRange } from '../support/plain.ts'

const policy: Partial<PlacementPolicy> = {
  constraints: [],
  goals: [spread('zone'), balance('replicas'), balance('leases')],
}

/** Nine nodes in three zones, 36 ranges dealt out evenly. */
function cluster(): Model {
  const model = new Model()
  for (let i = 0; i < 9; i++) model.addNode(`n${i}`, `z${i % 3}`, { capacity: { bytes: 400 } })
  for (let range = 1; range <= 36; range++) {
    const first = Math.floor(range / 3) % 3
    model.addRange(
      range,
      [0, 1, 2].map((k) => `n${((first + k) % 3) * 3 + ((range + k) % 3)}`),
      {
        leaseHolder: 1 + (range % 3),
      },
    )
  }
  return model
}

const sum = (values: readonly number[]): number => values.reduce((all, each) => all + each, 0)

describe('what if', () => {
  it('nothing happens: nothing is moved, and the snapshot is left as it was', () => {
    const snapshot = cluster().snapshot()
    const before = JSON.stringify(summarize(snapshot))
    const settled = whatIf(snapshot, {}, { policy })
    assert.equal(settled.settled, true)
    assert.deepEqual(settled.changed, settled.before)
    assert.equal(JSON.stringify(summarize(snapshot)), before)
  })

  it('a node is lost: what it had is copied, exactly that, and the first plan is what the planner says', () => {
    const model = cluster()
    const snapshot = model.snapshot()
    const result = whatIf(snapshot, { loseNodes: ['n4'] }, { policy })
    const lost = summarize(snapshot).stores.find(({ name }) => name === 'n4')
    assert.ok(lost !== undefined && lost.replicas > 0)
    assert.equal(result.changed.underReplicated, lost.replicas)
    assert.equal(result.after.underReplicated, 0)
    assert.equal(result.bounds.repair.lowerBoundMoves, lost.replicas)
    assert.ok(result.copiedBytes >= lost.replicas * 10)
    assert.equal(sum(result.after.stores.map(({ leases }) => leases)), 36, 'somebody leads every range')
    model.kill('n4')
    const limits = {
      moves: 1000,
      improvements: 1000,
      incomingPerNode: 1000,
      outgoingPerNode: 1000,
      leaseTransfers: 1000,
    }
    const real = plan(model.snapshot(), policy, { limits })
    const first = result.moves.slice(0, real.moves.length)
    assert.deepEqual(
      first.map(({ rangeId, kind, add }) => [rangeId, kind, add?.nodeId]),
      real.moves.map(({ rangeId, kind, add }) => [rangeId, kind, add?.nodeId]),
    )
  })

  it('a zone is lost: the ranges have a quorum, and go where there is room', () => {
    const result = whatIf(cluster().snapshot(), { loseDomain: { tier: 'zone', value: 'z1' } }, { policy })
    assert.equal(result.changed.withoutQuorum, 0)
    assert.equal(result.after.underReplicated, 0)
    assert.ok(result.after.stores.every(({ condition, replicas }) => condition !== 'lost' || replicas === 0))
  })

  it('nodes come: they get their share', () => {
    const snapshot = cluster().snapshot()
    const more = new Model().addNode('n90', 'z0').addNode('n91', 'z1').addNode('n92', 'z2').snapshot().nodes
    const { after, settled } = whatIf(snapshot, { addNodes: more }, { policy })
    assert.equal(settled, true)
    const share = sum(after.stores.map(({ replicas }) => replicas)) / 12
    for (const { name, replicas } of after.stores)
      assert.ok(Math.abs(replicas - share) <= 1.5, `${name}: ${replicas}`)
  })

  it('a node is emptied, the load grows, the policy is another one', () => {
    const snapshot = cluster().snapshot()
    const drained = whatIf(snapshot, { drainNodes: ['n0'] }, { policy })
    assert.equal(drained.after.stores.find(({ name }) => name === 'n0')?.replicas, 0)
    const grown = whatIf(snapshot, { growLoad: { bytes: 3 } }, { policy })
    const ratio = fullest(grown.changed, 'bytes').part / fullest(grown.before, 'bytes').part
    assert.ok(Math.abs(ratio - 3) < 1e-9)
    const named = buildSnapshot({
      nodes: snapshot.nodes,
      ranges: [plainRange(1, ['n0', 'n1', 'n2'], { load: Object.fromEntries([['constructor', 4]]) })],
      deadAfterMs: 1,
    })
    const { after } = whatIf(named, { growLoad: { constructor: 1 } }, { policy })
    assert.deepEqual(
      whatIf(named, { growLoad: {} }, { policy }).after,
      after,
      'a dimension that is not named stays',
    )
    const five = whatIf(snapshot, { policy: { replicationFactor: 5 } }, { policy })
    assert.equal(five.moves.filter(({ kind }) => kind === 'add').length, 72)
    assert.equal(five.after.underReplicated, 0)
  })

  it('says what cannot be done', () => {
    const { blockedCount, explained } = whatIf(
      cluster().snapshot(),
      { loseNodes: ['n0', 'n1', 'n2', 'n3', 'n4', 'n5', 'n6'] },
      { policy },
    )
    assert.ok(blockedCount > 0)
    assert.ok(explained.some((line) => line.includes('cannot be done')))
  })

  it('refuses what makes no sense', () => {
    const snapshot = cluster().snapshot()
    const code = (change: object): string => {
      try {
        whatIf(snapshot, change)
      } catch (thrown) {
        return (thrown as KeelsonError).code
      }
      return 'none'
    }
    assert.equal(code({ loseNodes: ['x'] }), 'NOT_FOUND')
    assert.equal(code({ loseDomain: { tier: 'zone', value: 'x' } }), 'NOT_FOUND')
    assert.equal(code({ addNodes: snapshot.nodes }), 'INVALID_ARGUMENT')
    assert.equal(code({ growLoad: { bytes: -1 } }), 'INVALID_ARGUMENT')
    assert.equal(code({ loseNode: [] }), 'INVALID_ARGUMENT')
  })
})

describe('plans', () => {
  const before = cluster()
  const first = plan(before.kill('n1').snapshot(), policy)

  it('that are the same do not differ; of two, each range is told of', () => {
    assert.deepEqual(diffPlans(first, first).moves, [])
    assert.equal(diffPlans(first, first).same, first.moves.length)
    const second = plan(cluster().kill('n2').snapshot(), policy)
    const { moves, same, explained, bytes } = diffPlans(first, second)
    const all = new Set([...first.moves, ...second.moves].map(({ rangeId }) => rangeId))
    assert.equal(moves.length + same, all.size)
    assert.equal(explained.length, moves.length)
    assert.equal(
      bytes,
      sum(second.moves.map((move) => move.bytes)) - sum(first.moves.map((move) => move.bytes)),
    )
  })

  it('read as text: every move with its reason and what it rejected, and the bounds', () => {
    const text = planText(first)
    for (const move of first.moves) {
      assert.ok(text.includes(`range ${move.rangeId}: `) && text.includes(move.reason))
      for (const { nodeId } of move.rejected) assert.ok(text.includes(`not ${nodeId}: `))
    }
    assert.match(text, /repair: \d+ copies with \d+ bytes planned; at least \d+/)
    assert.match(planText(first, 1), /and \d+ more/)
  })
})

describe('a node', () => {
  it('is explained: what it has and its share, what leaves it and what holds that up', () => {
    const model = cluster()
    const drained = model.node('n0')
    assert.ok(drained !== undefined)
    drained.state = 'draining'
    const snapshot = model.snapshot()
    const planned = plan(snapshot, policy)
    const explained = explainNode(snapshot, 'n0', policy)
    assert.deepEqual(explained.takes, ['n0: it is draining'])
    assert.equal(explained.replicas, summarize(snapshot).stores[0]?.replicas)
    assert.equal(sum(explained.waiting.map(({ count }) => count)), explained.replicas)
    assert.deepEqual(
      explained.leaving,
      planned.moves.filter(({ remove }) => remove?.nodeId === 'n0'),
    )
    assert.ok(explained.leaving.length > 0)
    const other = explainNode(snapshot, 'n1', policy)
    assert.deepEqual(other.takes, ['n1: it takes replicas'])
    assert.ok(other.goals.some((line) => line.includes('its share is')))
    assert.match(nodeText(other), /planned to it/)
  })

  it('that cannot be emptied names the ranges that hold it up, and why', () => {
    const model = cluster()
    for (const node of model.nodes) if (node.nodeId !== 'n0') node.state = 'draining'
    ;(model.node('n0') as { state: string }).state = 'draining'
    const { blocked, waiting } = explainNode(model.snapshot(), 'n0', policy)
    assert.ok(waiting.length > 0 && blocked.length > 0)
    for (const { why } of blocked) assert.match(why, /no node can take/)
  })

  it('that is not there is not explained', () => {
    assert.throws(() => explainNode(cluster().snapshot(), 'x'), { code: 'NOT_FOUND' })
  })
})

describe('a picture', () => {
  it('has a bar for every store, as high as it is full, and takes names as text', () => {
    const { before, after } = whatIf(cluster().snapshot(), { loseNodes: ['n0'] }, { policy })
    const svg = drawClusters([
      { title: 'before', summary: before },
      { title: 'after <b>&"<n0>', summary: after },
    ])
    assert.equal(svg.match(/<title>/g)?.length, 18)
    assert.ok(!svg.includes('<b>') && !svg.includes('<n0>'))
    assert.ok(svg.includes('#e45756'), 'the lost node is seen')
    // Well-formed: every element that is opened is closed, in order.
    const open: string[] = []
    for (const [, close, name, self] of svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
      if (close === '/') assert.equal(open.pop(), name)
      else if (self !== '/') open.push(name as string)
    }
    assert.deepEqual(open, [])
  })
})
