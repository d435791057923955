import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Random, SeededRandom } from '../../src/core/random.ts'
import type { ObservedReplica } from '../../src/interfaces/index.ts'
import { type NodeReport, ReportBook } from '../../src/nodes/index.ts'

const roles = ['voter', 'learner', 'incoming', 'outgoing', 'demoting'] as const
const huge = 2 ** 40

function drawReplica(random: Random, rangeId: number): ObservedReplica {
  const replicas = Array.from({ length: random.integer(5) }, (_, i) => ({
    replicaId: random.integer(20) === 0 ? huge + i : i + 1,
    nodeId: `n${random.integer(4)}`,
    incarnation: random.integer(10) === 0 ? huge : 1 + random.integer(2),
    role: roles[random.integer(random.integer(3) === 0 ? 5 : 2)] ?? 'voter',
  }))
  const key = (): Uint8Array => Uint8Array.from({ length: random.integer(4) }, () => random.integer(256))
  const names = ['bytes', 'requests', 'cpu', '__proto__', `odd${random.integer(60)}`]
  const amounts = names
    .filter(() => random.integer(2) === 0)
    .map((name): [string, number] => [name, random.integer(3) * 0.25 + random.integer(2) * huge])
  return {
    rangeId,
    replicaId: replicas[0]?.replicaId ?? 1,
    generation: random.integer(4) + (random.integer(10) === 0 ? huge : 0),
    replicas,
    leaseHolder: random.integer(3) === 0,
    sequence: random.integer(3),
    caughtUp: [
      ...replicas.filter(() => random.integer(2) === 0).map(({ replicaId }) => replicaId),
      ...(random.integer(10) === 0 ? [99] : []),
    ],
    load: Object.assign(Object.create(null), Object.fromEntries(amounts)) as Record<string, number>,
    ...(random.integer(3) === 0 ? { swaps: true } : {}),
    ...(random.integer(3) === 0
      ? { bounds: { start: key(), end: random.integer(3) === 0 ? undefined : key() } }
      : {}),
    ...(random.integer(5) === 0 ? { splitOff: 7, splitKeys: { bySize: key() } } : {}),
    ...(random.integer(9) === 0 ? { frozen: { into: 3, intoGeneration: 9 } } : {}),
  }
}

function drawReport(random: Random, nodeId: string, sequence: number): NodeReport {
  const replicas = Array.from({ length: random.integer(8) }, () =>
    drawReplica(random, 1 + random.integer(10) + (random.integer(12) === 0 ? huge : 0)),
  )
  return { nodeId, incarnation: 1, epoch: 1, sequence, replicas, load: { cpu: 1 }, capacity: {} }
}

/** By range, what was told last of each. */
function byRange(report: NodeReport | undefined): Map<number, ObservedReplica> {
  return new Map((report?.replicas ?? []).map((replica) => [replica.rangeId, replica]))
}

/** What placement looks at. */
function shown({ generation, replicaId, leaseHolder, sequence, load }: ObservedReplica): string {
  return JSON.stringify([
    generation,
    replicaId,
    leaseHolder,
    sequence,
    Object.keys(load)
      .sort()
      .map((name) => [name, load[name]]),
  ])
}

suite('the book of reports in columns', () => {
  test('says of every range and node exactly what the newest reports said', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new SeededRandom(seed)
      const book = new ReportBook()
      const newest = new Map<string, NodeReport>()
      const changed = new Set<number>()
      const take = book.follow()
      for (let step = 1; step <= 25; step++) {
        const nodeId = `n${random.integer(4)}`
        const [before, report] = [newest.get(nodeId), drawReport(random, nodeId, step)]
        if (random.integer(8) === 0) {
          // It says the same once more.
          const again = { ...report, replicas: before?.replicas ?? [] }
          book.take(again, step)
          newest.set(nodeId, again)
        } else {
          const [was, is] = [byRange(before), byRange(report)]
          for (const [rangeId, replica] of is) {
            const old = was.get(rangeId)
            if (old === undefined || shown(old) !== shown(replica)) changed.add(rangeId)
          }
          for (const rangeId of was.keys()) if (!is.has(rangeId)) changed.add(rangeId)
          book.take(report, step)
          newest.set(nodeId, report)
        }
        if (random.integer(4) === 0) {
          assert.deepEqual(take(), changed, `seed ${seed}, step ${step}`)
          changed.clear()
        }
        const ids = new Set(
          [...newest.values()].flatMap(({ replicas }) => replicas.map((each) => each.rangeId)),
        )
        assert.deepEqual(new Set(book.rangeIds()), ids)
        assert.deepEqual(book.follow()(), ids, 'who comes late hears of all')
        for (const rangeId of [...ids, 999]) {
          const expected = [...newest].flatMap(([from, of]) => {
            const replica = byRange(of).get(rangeId)
            return replica === undefined ? [] : [[from, replica] as const]
          })
          const got = book.observed(rangeId).map((each) => [each.nodeId, each.replica] as const)
          assert.deepEqual(new Map(got), new Map(expected), `seed ${seed}, step ${step}, range ${rangeId}`)
        }
      }
      for (const [nodeId, report] of newest) {
        const { replicas, ...head } = book.report(nodeId) as NodeReport
        assert.deepEqual({ ...head, replicas: [] }, { ...report, replicas: [] })
        assert.deepEqual(byRange({ ...report, replicas }), byRange(report))
      }
      for (const nodeId of newest.keys()) book.ended(nodeId, 1)
      assert.deepEqual(book.rangeIds(), [])
    }
  })

  test('a node that comes again after others have gone is not taken for one of them', () => {
    const book = new ReportBook()
    const random = new SeededRandom(3)
    const of = (nodeId: string, epoch: number, rangeId: number): NodeReport => ({
      ...drawReport(random, nodeId, 1),
      epoch,
      replicas: [{ ...drawReplica(random, rangeId), caughtUp: [] }],
    })
    book.take(of('a', 1, 1), 0)
    book.take(of('b', 1, 1), 0)
    book.ended('a', 1)
    book.take(of('c', 1, 2), 0)
    book.take(of('a', 2, 1), 0)
    assert.deepEqual(
      book.observed(1).map(({ nodeId }) => nodeId),
      ['b', 'a'],
    )
    assert.deepEqual(
      book.observed(2).map(({ nodeId }) => nodeId),
      ['c'],
    )
  })
})
