import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { encodePlain, KeelsonError, type Plain } from '../../src/core/index.ts'
import type { ObservedReplica } from '../../src/interfaces/index.ts'
import type { Load, ReplicaDescriptor } from '../../src/model/index.ts'
import {
  decodeJoinRequest,
  decodeNodeRecord,
  decodeNodeReport,
  encodeJoinRequest,
  encodeNodeRecord,
  encodeNodeReport,
  type NodeReport,
  ReportBook,
} from '../../src/nodes/index.ts'

function report(epoch: number, sequence: number, ranges: readonly number[] = [1]): NodeReport {
  return {
    nodeId: 'db1',
    incarnation: 7,
    epoch,
    sequence,
    load: { cpu: 0.5 },
    capacity: { bytes: 1e12 },
    replicas: ranges.map((rangeId) => ({
      rangeId,
      replicaId: 2,
      generation: 3,
      replicas: [
        { replicaId: 1, nodeId: 'db2', incarnation: 5, role: 'voter' },
        { replicaId: 2, nodeId: 'db1', incarnation: 7, role: 'learner' },
      ],
      leaseHolder: true,
      sequence: 9,
      caughtUp: [1, 2],
      load: { bytes: 100, writes: 1.5 },
    })),
  }
}

/** A report without a joint configuration as a release that checks nothing writes it. */
function unchecked({
  nodeId,
  incarnation,
  epoch,
  sequence,
  load,
  capacity,
  replicas,
  stores,
}: NodeReport): Uint8Array {
  const amounts = (of: Load): Plain => Object.entries(of).sort(([a], [b]) => (a < b ? -1 : 1))
  return encodePlain([
    1,
    nodeId,
    incarnation,
    epoch,
    sequence,
    amounts(load),
    amounts(capacity),
    replicas.map((each) => [
      each.rangeId,
      each.replicaId,
      each.generation,
      each.replicas.map((member) => [
        member.replicaId,
        member.nodeId,
        member.incarnation,
        member.role === 'voter',
      ]),
      each.leaseHolder,
      each.sequence,
      each.caughtUp,
      amounts(each.load),
      false,
    ]),
    ...(stores === undefined
      ? []
      : [stores.map((store) => [store.storeId, amounts(store.load), amounts(store.capacity), 0, []])]),
  ])
}

suite('reports', () => {
  test('travel unharmed', () => {
    const sent = report(3, 4, [1, 2, 3])
    const got = decodeNodeReport(encodeNodeReport(sent))
    assert.deepEqual(JSON.parse(JSON.stringify(got)), JSON.parse(JSON.stringify(sent)))
  })

  test('name the stores of a node that has several, and where each replica is', () => {
    const plain = report(3, 4, [1, 2, 3])
    const stores = [
      { storeId: 'd1', load: { ioOverload: 0.5 }, capacity: { bytes: 5 } },
      { storeId: 'd2', load: {}, capacity: {}, state: 'failed' as const },
    ]
    const replicas = plain.replicas.map((replica, i) =>
      i === 1 ? replica : { ...replica, storeId: `d${i / 2 + 1}` },
    )
    const sent = { ...plain, replicas, stores }
    const bytes = encodeNodeReport(sent)
    assert.deepEqual(JSON.parse(JSON.stringify(decodeNodeReport(bytes))), JSON.parse(JSON.stringify(sent)))
    // A release that knows of no stores reads what it knows, in what is otherwise the first format, byte for byte.
    const without = encodeNodeReport(plain)
    assert.equal(bytes[0], (without[0] as number) + 1)
    assert.deepEqual(bytes.slice(1, without.length), without.slice(1))
    assert.equal(
      Buffer.from(bytes.slice(without.length)).toString('hex'),
      '9295a2643191 92aa696f4f7665726c6f6164cb3fe0000000000000 9192a56279746573 05 00 9100 95a26432 90 90 02 9102'.replaceAll(
        ' ',
        '',
      ),
    )
    assert.deepEqual(decodeNodeReport(without).stores, undefined)
  })

  test('with stores that do not fit are refused, on both sides', () => {
    const store = (storeId: string) => ({ storeId, load: {}, capacity: {} })
    const plain = report(3, 4, [1, 2])
    const on = (storeId: string) => plain.replicas.map((replica) => ({ ...replica, storeId }))
    for (const bad of [
      { ...plain, replicas: on('d2'), stores: [store('d1')] },
      { ...plain, stores: [store('d1'), store('d1')] },
      { ...plain, stores: [store('')] },
    ]) {
      assert.throws(() => encodeNodeReport(bad), { code: 'INVALID_ARGUMENT' })
    }
    const many = Array.from({ length: 65 }, (_, i) => store(`d${i}`))
    assert.throws(() => encodeNodeReport({ ...plain, stores: many }), { code: 'LIMIT_EXCEEDED' })
    const told = (...stores: [string, number[]][]) =>
      encodePlain([
        1,
        'db1',
        7,
        1,
        1,
        [],
        [],
        [],
        stores.map(([name, positions]) => [name, [], [], 0, positions]),
      ])
    assert.equal(decodeNodeReport(told(['d1', []])).stores?.[0]?.storeId, 'd1')
    for (const bytes of [told(['d1', [0]]), told(['d1', []], ['d1', []]), told(['', []])])
      assert.throws(() => decodeNodeReport(bytes), { code: 'MALFORMED' })
  })

  test('of a range in a joint configuration are of a format of their own, others of the first', () => {
    const plain = report(3, 4)
    assert.equal(encodeNodeReport(plain)[1], 1)
    const [replica] = plain.replicas
    const replicas = (['voter', 'incoming', 'outgoing', 'demoting', 'learner'] as const).map((role, i) => ({
      replicaId: i + 1,
      nodeId: `db${i + 1}`,
      incarnation: 5,
      role,
    }))
    const joint: NodeReport = { ...plain, replicas: [{ ...(replica as ObservedReplica), replicas }] }
    const bytes = encodeNodeReport(joint)
    assert.equal(bytes[1], 2)
    assert.deepEqual(decodeNodeReport(bytes).replicas[0]?.replicas, replicas)
  })

  test('are read as every release has written them', () => {
    const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))
    const head = 'a36462310703049192a3637075cb3fe00000000000009192a56279746573cb426d1a94a2000000'
    const first = decodeNodeReport(
      bytes(`9801${head}9198030205929401a26e3107c39402a26e3207c2c3099201029192a5627974657364`),
    )
    assert.deepEqual(
      first.replicas[0]?.replicas.map(({ role }) => role),
      ['voter', 'learner'],
    )
    assert.equal(first.replicas[0]?.swaps, undefined)
    // Says of itself that it can swap, or not: readers of an older release pass over that.
    const later = `9802${head}9199030205959401a26e3107019402a26e3207029403a26e3307039404a26e3407049405a26e350700c3099201029192a5627974657364c3`
    const second = decodeNodeReport(bytes(later))
    assert.deepEqual(
      second.replicas[0]?.replicas.map(({ role }) => role),
      ['voter', 'incoming', 'outgoing', 'demoting', 'learner'],
    )
    assert.equal(second.replicas[0]?.swaps, true)
    assert.equal(Buffer.from(encodeNodeReport(second)).toString('hex'), later)
  })

  test('that say what cannot be are refused on both sides, with the node and the field', () => {
    const plain = report(3, 4)
    const [replica] = plain.replicas as [ObservedReplica]
    const of = (change: Partial<ObservedReplica>): NodeReport => ({
      ...plain,
      replicas: [{ ...replica, ...change }],
    })
    const [first, second] = replica.replicas as [ReplicaDescriptor, ReplicaDescriptor]
    const store = { storeId: 'd1', load: {}, capacity: {} }
    const cases: readonly (readonly [RegExp, NodeReport])[] = [
      [/cpu in the load of range 1 of node db1/, of({ load: { cpu: -0.001 } })],
      [/bytes in the load of range 1 of node db1/, of({ load: { bytes: 2 ** 60 } })],
      [/cpu in the load of node db1/, { ...plain, load: { cpu: -1 } }],
      [/bytes in the capacity of node db1/, { ...plain, capacity: { bytes: -1 } }],
      [/bytes in the capacity of node db1/, { ...plain, capacity: { bytes: 2 ** 53 } }],
      [/cpu in the load of store d1 of node db1/, { ...plain, stores: [{ ...store, load: { cpu: -1 } }] }],
      [
        /bytes in the capacity of store d1 of node db1/,
        { ...plain, stores: [{ ...store, capacity: { bytes: -1 } }] },
      ],
      [/the replica id of range 1 of node db1/, of({ replicaId: 0 })],
      [/caught up of range 1 of node db1/, of({ caughtUp: [0] })],
      [/the id of a member of range 1 of node db1/, of({ replicas: [{ ...first, replicaId: 0 }, second] })],
      [/replica 2 twice in range 1 of node db1/, of({ replicas: [{ ...first, replicaId: 2 }, second] })],
      [
        /range 1 on one node, db2, .*of node db1/,
        of({ replicas: [first, second, { ...first, replicaId: 9 }] }),
      ],
    ]
    for (const [message, bad] of cases) {
      assert.throws(() => encodeNodeReport(bad), { code: 'INVALID_ARGUMENT', message })
      assert.throws(() => decodeNodeReport(unchecked(bad)), {
        code: 'MALFORMED',
        message,
        details: { nodeId: 'db1' },
      })
    }
    for (const load of [{ cpu: Number.NaN }, { cpu: '1' }, { cpu: undefined }, undefined, [1]])
      assert.throws(() => encodeNodeReport(of({ load: load as never })), { code: 'INVALID_ARGUMENT' })
    const most = of({ load: { bytes: Number.MAX_SAFE_INTEGER, cpu: 0 } })
    assert.deepEqual(unchecked(most), encodeNodeReport(most))
    assert.equal(decodeNodeReport(encodeNodeReport(most)).replicas[0]?.load['bytes'], Number.MAX_SAFE_INTEGER)
  })

  test('a damaged one is refused with a typed error, never a crash', () => {
    const good = encodeNodeReport(report(3, 4, [1, 2]))
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, byte, length) => {
        const bad = good.slice(0, length === 0 ? good.length : length)
        if (at < bad.length) bad[at] = byte
        try {
          decodeNodeReport(bad)
        } catch (error) {
          assert.ok(
            KeelsonError.hasCode(error, 'MALFORMED', 'FORMAT_VERSION', 'LIMIT_EXCEEDED'),
            String(error),
          )
        }
      }),
      { numRuns: 3000 },
    )
    assert.throws(() => decodeNodeReport(encodePlain([3])), { code: 'FORMAT_VERSION' })
    const names = Array.from({ length: 33 }, (_, i) => [`r${i}`, 1])
    const greedy = encodePlain([1, 'db1', 7, 1, 1, names, [], []])
    assert.throws(() => decodeNodeReport(greedy), { code: 'MALFORMED' })
  })

  test('no name in a report reaches a prototype', () => {
    const bytes = encodePlain([1, 'db1', 7, 1, 1, [['__proto__', 1]], [['constructor', 2]], []])
    const got = decodeNodeReport(bytes)
    assert.deepEqual(Object.keys(got.load), ['__proto__'])
    assert.equal(({} as Record<string, unknown>)['1'], undefined)
  })

  test('more replicas than a report may hold are refused by the sender', () => {
    const many = report(
      1,
      1,
      Array.from({ length: 50_001 }, (_, i) => i + 1),
    )
    assert.throws(() => encodeNodeReport(many), { code: 'LIMIT_EXCEEDED' })
  })
})

suite('the book of reports', () => {
  test('keeps the newest of each node, in whatever order they come', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(4)), { maxLength: 30 }), (order) => {
        const book = new ReportBook()
        let best: [number, number] | undefined
        for (const [epoch, sequence] of order) {
          const newer =
            best === undefined || epoch + 1 > best[0] || (epoch + 1 === best[0] && sequence > best[1])
          assert.equal(book.take(report(epoch + 1, sequence), 0), newer)
          if (newer) best = [epoch + 1, sequence]
        }
        const kept = book.report('db1')
        assert.deepEqual(kept === undefined ? undefined : [kept.epoch, kept.sequence], best)
      }),
    )
  })

  test('forgets an epoch that ended, and refuses what still comes of it', () => {
    const book = new ReportBook()
    book.take(report(5, 1, [1, 2]), 10)
    assert.equal(book.observed(1).length, 1)
    assert.equal(book.observed(1)[0]?.atMs, 10)
    assert.equal(book.ageMs('db1', 25), 15)
    book.ended('db1', 5)
    assert.deepEqual(book.observed(1), [])
    assert.deepEqual(book.rangeIds(), [])
    assert.equal(book.ageMs('db1', 25), Number.POSITIVE_INFINITY)
    assert.throws(() => book.take(report(5, 2), 30), { code: 'EPOCH_ENDED' })
    assert.equal(book.take(report(6, 1, [2]), 30), true)
    book.ended('db1', 5)
    assert.equal(book.observed(2).length, 1, 'the end of an older epoch says nothing about a newer one')
    book.take(report(6, 2, [3]), 40)
    assert.deepEqual(book.rangeIds(), [3])
  })

  test('says on which store a replica is, and notices when it is another one', () => {
    const book = new ReportBook()
    const changed = book.follow()
    const stores = [1, 2].map((i) => ({ storeId: `d${i}`, load: { ioOverload: i }, capacity: {} }))
    const on = (sequence: number, storeId: string | undefined): NodeReport => {
      const plain = report(1, sequence, [1, 2])
      const replicas = plain.replicas.map((replica) =>
        storeId === undefined || replica.rangeId === 2 ? replica : { ...replica, storeId },
      )
      return { ...plain, replicas, stores }
    }
    book.take(on(1, undefined), 0)
    changed()
    book.take(on(2, 'd1'), 0)
    assert.deepEqual([...changed()], [1])
    assert.equal(book.observed(1)[0]?.replica.storeId, 'd1')
    assert.equal(book.observed(2)[0]?.replica.storeId, undefined)
    book.take(on(3, 'd1'), 0)
    assert.deepEqual([...changed()], [])
    book.take(on(4, 'd2'), 0)
    assert.deepEqual([...changed()], [1])
    assert.deepEqual(book.stores('db1'), stores)
    assert.equal(book.report('db1')?.replicas[0]?.storeId, 'd2')
    assert.equal(book.stores('db2'), undefined)
  })

  test('is bounded', () => {
    const book = new ReportBook(1)
    book.take(report(1, 1), 0)
    assert.throws(() => book.take({ ...report(1, 1), nodeId: 'db2' }, 0), { code: 'OVERLOADED' })
    assert.equal(book.take(report(1, 2), 0), true)
  })
})

suite('other bytes', () => {
  const descriptor = {
    nodeId: 'db1',
    incarnation: 7,
    addresses: ['127.0.0.1:80'],
    locality: [{ key: 'zone', value: 'a' }],
    capacity: { bytes: 5 },
    labels: { disk: 'ssd' },
  }

  test('join requests and records travel unharmed', () => {
    const request = { descriptor, credential: 'x'.repeat(32), token: 'y'.repeat(64) }
    const got = decodeJoinRequest(encodeJoinRequest(request))
    assert.deepEqual(JSON.parse(JSON.stringify(got)), request)
    const record = {
      descriptor,
      state: 'draining' as const,
      reason: 'moved',
      credentialHash: new Uint8Array([1]),
      tokenHash: new Uint8Array([2]),
      joinedAtMs: 1,
      changedAtMs: 2,
    }
    assert.deepEqual(
      JSON.parse(JSON.stringify(decodeNodeRecord(encodeNodeRecord(record)))),
      JSON.parse(JSON.stringify(record)),
    )
  })

  test('a node that has several stores names them, and a release that knows of none reads the rest', () => {
    const stores = [
      { storeId: 'd1', capacity: { bytes: 3 }, labels: { disk: 'nvme' } },
      { storeId: 'd2', capacity: {}, labels: {} },
    ]
    const bytes = (change: object): Uint8Array =>
      encodeJoinRequest({ descriptor: { ...descriptor, ...change }, credential: 'x'.repeat(32) })
    const got = decodeJoinRequest(bytes({ stores })).descriptor
    assert.deepEqual(JSON.parse(JSON.stringify(got)), { ...descriptor, stores })
    assert.equal(decodeJoinRequest(bytes({})).descriptor.stores, undefined)
    const [store] = stores
    for (const bad of [
      [store, store],
      [{ ...store, storeId: '' }],
      [{ ...store, capacity: { bytes: -1 } }],
      [{ ...store, labels: { disk: 5 } }],
      Array.from({ length: 65 }, (_, i) => ({ ...store, storeId: `d${i}` })),
    ]) {
      assert.throws(() => bytes({ stores: bad }), { code: 'INVALID_ARGUMENT' })
    }
  })

  test('a damaged join request is refused with a typed error', () => {
    const good = encodeJoinRequest({ descriptor, credential: 'x'.repeat(32) })
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
        const bad = good.slice()
        bad[at] = byte
        try {
          decodeJoinRequest(bad)
        } catch (error) {
          assert.ok(
            KeelsonError.hasCode(error, 'MALFORMED', 'FORMAT_VERSION', 'INVALID_ARGUMENT'),
            String(error),
          )
        }
      }),
      { numRuns: 2000 },
    )
    assert.throws(() => decodeJoinRequest(encodeJoinRequest({ descriptor, credential: 'short' })), {
      code: 'INVALID_ARGUMENT',
    })
  })
})
