import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { KeelsonError } from '../../../src/core/errors.ts'
import {
  buildSnapshot,
  Fleet,
  type PlacementNode,
  type PlacementRange,
  whatIf,
} from '../../../src/placement/index.ts'
import { plainNode, plainRange } from '../support/plain.ts'

const nodes = ['n0', 'n1', 'n2'].map((nodeId) => plainNode(nodeId, 'zone=z0'))

function refused(make: () => unknown, message: RegExp, code = 'INVALID_ARGUMENT'): void {
  assert.throws(make, (error: KeelsonError) => {
    assert.equal(error.code, code, error.message)
    assert.match(error.message, message)
    return true
  })
}

/** A range with another descriptor, or other replicas. */
function bent(change: object, replica: object = {}): PlacementRange {
  const range = plainRange(7, ['n0', 'n1'])
  const replicas = range.descriptor.replicas.map((each, i) => (i === 1 ? { ...each, ...replica } : each))
  return { ...range, descriptor: { ...range.descriptor, replicas, ...change } }
}

suite('the model refuses by the name of the field', () => {
  const badRanges: readonly [what: string, range: unknown, message: RegExp][] = [
    ['no range', undefined, /a range must be an object/],
    ['no descriptor', {}, /descriptor missing/],
    ['a range id above the safe integers', bent({ rangeId: 2 ** 60 }), /rangeId/],
    ['a fraction for a range id', bent({ rangeId: 1.5 }), /rangeId/],
    ['text for a range id', bent({ rangeId: '7' }), /rangeId/],
    ['a negative generation', bent({ generation: -1 }), /generation of range 7/],
    ['no replicas', bent({ replicas: undefined }), /replicas of range 7/],
    ['a role that there is not', bent({}, { role: 'votre' }), /role of replica 2.*did you mean 'voter'/],
    ['a negative replica id', bent({}, { replicaId: -3.5 }), /replicaId/],
    ['a replica twice', bent({}, { replicaId: 1 }), /replica 1 twice/],
    ['two replicas on a node', bent({}, { nodeId: 'n0' }), /replicas 1 and 2 on one node, n0/],
    ['an incarnation that is no number', bent({}, { incarnation: '1' }), /incarnation of replica 2/],
    ['a factor that is too large', { ...bent({}), replicationFactor: 100 }, /replicationFactor of range 7/],
    [
      'too many replicas without a vote',
      { ...bent({}), nonVoters: 16 },
      /nonVoters of range 7 .*from 0 to 15/,
    ],
    ['a load that is text', { ...bent({}), load: { bytes: '100' } }, /load.bytes of range 7/],
    ['a load that is null', { ...bent({}), load: { bytes: null } }, /load.bytes of range 7/],
    ['a load that is true', { ...bent({}), leaderLoad: { bytes: true } }, /leaderLoad.bytes of range 7/],
    ['a load that is a list', { ...bent({}), load: { bytes: [5] } }, /load.bytes of range 7/],
    ['a factor below 0', { ...bent({}), replicationFactor: -1 }, /replicationFactor/],
    ['half a non-voter', { ...bent({}), nonVoters: 2.5 }, /nonVoters/],
    ['a table that is no number', { ...bent({}), tableId: 'x' }, /tableId/],
    ['a load that is no number', { ...bent({}), load: { bytes: Number.NaN } }, /load\.bytes of range 7/],
    ['a negative load', { ...bent({}), load: { cpu: -5 } }, /load\.cpu/],
    ['an endless load', { ...bent({}), leaderLoad: { cpu: Number.POSITIVE_INFINITY } }, /leaderLoad\.cpu/],
  ]
  for (const [what, range, message] of badRanges) {
    test(what, () => {
      refused(() => buildSnapshot({ nodes, ranges: [range as PlacementRange], deadAfterMs: 1 }), message)
      refused(() => new Fleet({ deadAfterMs: 1 }).setRange(range as PlacementRange), message)
    })
  }

  const badNodes: readonly [what: string, node: unknown, message: RegExp][] = [
    ['no node', null, /a node must be an object/],
    ['a time that is text', { ...plainNode('x'), forMs: '5' }, /forMs of node x/],
    ['a node without a descriptor', {}, /descriptor/],
    [
      'a state that there is not',
      { ...plainNode('x'), state: 'aktive' },
      /state of node x.*did you mean 'active'/,
    ],
    ['a liveness that there is not', { ...plainNode('x'), liveness: 'up' }, /liveness of node x/],
    ['a time that is none', { ...plainNode('x'), forMs: Number.NaN }, /forMs of node x/],
    ['a capacity that is none', withCapacity({ bytes: Number.NaN }), /capacity of node x of bytes/],
    ['a store twice', { ...plainNode('x'), stores: [{ storeId: 'a' }, { storeId: 'a' }] }, /store a twice/],
  ]
  for (const [what, node, message] of badNodes) {
    test(what, () => {
      refused(() => buildSnapshot({ nodes: [node as PlacementNode], ranges: [], deadAfterMs: 1 }), message)
      const snapshot = buildSnapshot({ nodes, ranges: [], deadAfterMs: 1 })
      refused(() => whatIf(snapshot, { addNodes: [node as PlacementNode] }), message)
    })
  }

  test('nodes and ranges that stand twice in a snapshot', () => {
    const range = plainRange(1, ['n0'])
    refused(
      () => buildSnapshot({ nodes: [...nodes, plainNode('n1')], ranges: [], deadAfterMs: 1 }),
      /node n1 .*twice/,
    )
    refused(() => buildSnapshot({ nodes, ranges: [range, range], deadAfterMs: 1 }), /range 1 .*twice/)
  })
})

function withCapacity(capacity: Record<string, number>): PlacementNode {
  const node = plainNode('x')
  return { ...node, descriptor: { ...node.descriptor, capacity } }
}

suite('what-if', () => {
  const snapshot = buildSnapshot({
    nodes,
    ranges: [plainRange(1, ['n0', 'n1']), plainRange(2, ['n0', 'n1', 'n2'])],
    holds: new Map([[1, 'all']]),
    deadAfterMs: 1,
  })

  test('refuses a load dimension, a factor, a node and a domain that there are not', () => {
    refused(() => whatIf(snapshot, { growLoad: { byte: 2 } }), /"byte"; did you mean 'bytes'/)
    refused(() => whatIf(snapshot, { growLoad: { bytes: Number.POSITIVE_INFINITY } }), /growLoad\.bytes/)
    refused(() => whatIf(snapshot, { growLoad: 2 as never }), /growLoad must be an object/)
    refused(() => whatIf(snapshot, { addNodes: [plainNode('x'), plainNode('x')] }), /x is there already/)
    refused(() => whatIf(snapshot, { loseDomain: null as never }), /domain that is lost must be an object/)
    refused(
      () => whatIf(snapshot, { loseDomain: { tier: 'zon', value: 'z0' } }),
      /did you mean 'zone'/,
      'NOT_FOUND',
    )
  })

  test('leaves alone what is held', () => {
    const result = whatIf(snapshot, {})
    assert.deepEqual(
      result.moves.filter(({ rangeId }) => rangeId === 1),
      [],
    )
    assert.equal(result.after.underReplicated, 1)
  })
})
