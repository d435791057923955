import assert from 'node:assert/strict'
import { KeelsonError } from '../../core/errors.ts'
import type { PeerEvent, Transport } from '../../interfaces/transport.ts'
import { until } from '../compliance.ts'
import { collect, connect, losses, refused, type TransportCase, two } from './harness.ts'

function watch(transport: Transport): PeerEvent[] {
  const events: PeerEvent[] = []
  transport.onPeer((event) => events.push(event))
  return events
}

/** Connections: peers that come and go, dialling, closing. @internal */
export const lifecycleCases: Readonly<Record<string, TransportCase>> = {
  'reports peers that come and go, on both sides': async (harness) => {
    const { a, b, fromA, fromB } = await two(harness)
    const [seenByA, seenByB] = [watch(a), watch(b)]
    await connect(harness, fromA, 'b', collect(fromB))
    await until(harness.env, 'both are up', () => seenByA.length === 1 && seenByB.length === 1)
    assert.deepEqual(seenByA[0], { peer: b.self, state: 'up' })
    assert.deepEqual(seenByB[0], { peer: a.self, state: 'up' })
    assert.deepEqual(a.peers(), [b.self])
    assert.deepEqual(b.peers(), [a.self])
    await b.close()
    await until(harness.env, 'a sees b go', () => seenByA.length === 2)
    assert.deepEqual(seenByA[1], { peer: b.self, state: 'down' })
    assert.deepEqual(a.peers(), [])
  },

  'tells every channel what may be lost when a peer goes': async (harness) => {
    const { a, b, fromA, fromB } = await two(harness)
    const other = a.channel('other')
    const [first, second] = [losses(fromA), losses(other)]
    let unwanted = 0
    fromA.onLost(() => unwanted++)()
    await connect(harness, fromA, 'b', collect(fromB))
    await b.close()
    await until(harness.env, 'the loss', () => first.length > 0 && second.length > 0)
    assert.deepEqual(first[0], { peer: 'b', outcome: 'unknown' })
    assert.deepEqual(second[0], { peer: 'b', outcome: 'unknown' })
    assert.equal(unwanted, 0)
  },

  'tells the closing side what it may have lost': async (harness) => {
    const { a, fromA, fromB } = await two(harness)
    const lost = losses(fromA)
    await connect(harness, fromA, 'b', collect(fromB))
    await a.close()
    assert.deepEqual(
      lost.map(({ peer }) => peer),
      ['b'],
    )
  },

  'connects again to a node that came back': async (harness) => {
    const { a, b, fromA, fromB } = await two(harness)
    const events = watch(a)
    await connect(harness, fromA, 'b', collect(fromB))
    await b.close()
    await until(harness.env, 'a sees b go', () => events.length === 2)
    const again = await harness.open({ nodeId: 'b', incarnation: 2 })
    const received = collect(again.channel('test'))
    await until(harness.env, 'a message to the new b', () => {
      fromA.send('b', new Uint8Array([1]))
      return received.length > 0
    })
    assert.equal(events[2]?.peer.incarnation, 2)
    assert.equal(events[2]?.state, 'up')
  },

  'dials an address and says who is there': async (harness) => {
    const { a, b, fromB } = await two(harness)
    assert.ok(b.addresses.length > 0, 'a node without an address')
    assert.deepEqual(await a.dial(b.addresses[0] as string), b.self)
    await until(harness.env, 'b is up', () => a.peers().length === 1)
    const received = collect(a.channel('later'))
    const answer = b.channel('later')
    await until(harness.env, 'a message over that connection', () => {
      answer.send('a', new Uint8Array([1]))
      return received.length > 0
    })
    assert.equal(fromB.self.nodeId, 'b')
  },

  'refuses to dial nobody, itself and another cluster': async (harness) => {
    const { a, b } = await two(harness)
    const foreign = await harness.open({ nodeId: 'c', clusterId: 'another' })
    await refused(a.dial(foreign.addresses[0] as string), 'FOREIGN_CLUSTER')
    const own = await refused(a.dial(a.addresses[0] as string), 'INVALID_ARGUMENT')
    assert.equal(own.details['ownAddress'], true)
    const address = b.addresses[0] as string
    await b.close()
    await refused(a.dial(address), 'UNREACHABLE')
    assert.deepEqual(a.peers(), [])
  },

  'refuses a client that takes the name of a node': async (harness) => {
    const node = await harness.open({ nodeId: 'a' })
    await harness.open({ nodeId: 'b' })
    const impostor = await harness.open({ nodeId: 'b', role: 'client' })
    await refused(impostor.dial(node.addresses[0] as string), 'UNAUTHORIZED')
  },

  'gives one channel per name': async (harness) => {
    const { a } = await two(harness)
    for (const name of ['test', '', 'Not A Name']) {
      assert.throws(
        () => a.channel(name),
        (error) => KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
        JSON.stringify(name),
      )
    }
  },

  'closes once and for all': async (harness) => {
    const { a, b, fromA, fromB } = await two(harness)
    const received = collect(fromB)
    await connect(harness, fromA, 'b', received)
    await a.close()
    await a.close()
    assert.deepEqual(a.peers(), [])
    assert.equal(fromA.send('b', new Uint8Array([1])), false)
    await refused(a.dial(b.addresses[0] as string), 'CLOSED')
    await refused(fromA.openStream('b', new Uint8Array(0)), 'CLOSED')
    assert.throws(
      () => a.channel('late'),
      (error) => KeelsonError.hasCode(error, 'CLOSED'),
    )
  },
}
