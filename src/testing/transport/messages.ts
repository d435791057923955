import assert from 'node:assert/strict'
import { sleep } from '../../core/async.ts'
import { KeelsonError } from '../../core/errors.ts'
import { until } from '../compliance.ts'
import { collect, connect, type TransportCase, two } from './harness.ts'

/** Messages: who they come from, order, limits. @internal */
export const messageCases: Readonly<Record<string, TransportCase>> = {
  'delivers a message with the identity of its sender': async (harness) => {
    const { a, fromA, fromB } = await two(harness)
    const received = collect(fromB)
    assert.equal(fromA.send('b', new Uint8Array([1, 2, 3])), true)
    await until(harness.env, 'the message', () => received.length === 1)
    assert.deepEqual(received[0]?.peer, a.self)
    assert.deepEqual(received[0]?.bytes, new Uint8Array([1, 2, 3]))
  },

  'delivers an empty message': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const received = collect(fromB)
    fromA.send('b', new Uint8Array(0))
    await until(harness.env, 'the message', () => received.length === 1)
    assert.equal(received[0]?.bytes.length, 0)
  },

  'answers over the same connection': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const received = collect(fromA)
    fromB.onMessage((peer, bytes) => fromB.send(peer.nodeId, new Uint8Array([(bytes[0] as number) + 1])))
    fromA.send('b', new Uint8Array([41]))
    await until(harness.env, 'the answer', () => received.length === 1)
    assert.deepEqual(received[0]?.bytes, new Uint8Array([42]))
  },

  'answers a client, which nobody can dial': async (harness) => {
    const node = await harness.open({ nodeId: 'a' })
    const client = await harness.open({ nodeId: 'client-1', role: 'client' })
    assert.deepEqual(client.addresses, [])
    const [served, asking] = [node.channel('test'), client.channel('test')]
    const received = collect(asking)
    const roles: string[] = []
    served.onMessage((peer) => {
      roles.push(peer.role)
      served.send(peer.nodeId, new Uint8Array([7]))
    })
    asking.send('a', new Uint8Array([1]))
    await until(harness.env, 'the answer', () => received.length === 1)
    assert.deepEqual(roles, ['client'])
  },

  'keeps the order of messages to one peer': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const received = collect(fromB)
    await connect(harness, fromA, 'b', received)
    const sent: number[] = []
    for (let i = 0; i < 2_000; i++) {
      if (fromA.send('b', new Uint8Array([1, i >>> 8, i & 0xff]))) sent.push(i)
      if (i % 100 === 99) await sleep(harness.env.timers, 1)
    }
    await until(harness.env, 'all messages', () => received.length === sent.length + 1)
    assert.deepEqual(
      received.slice(1).map(({ bytes }) => (bytes[1] as number) * 256 + (bytes[2] as number)),
      sent,
    )
  },

  'keeps channels apart and ignores what nobody listens to': async (harness) => {
    const { a, b, fromA, fromB } = await two(harness)
    const [otherA, otherB] = [a.channel('other'), b.channel('other', { traffic: 'control' })]
    const lonely = a.channel('lonely')
    const [first, second] = [collect(fromB), collect(otherB)]
    lonely.send('b', new Uint8Array([9]))
    fromA.send('b', new Uint8Array([1]))
    otherA.send('b', new Uint8Array([2]))
    await until(harness.env, 'both messages', () => first.length + second.length === 2)
    assert.deepEqual(first[0]?.bytes, new Uint8Array([1]))
    assert.deepEqual(second[0]?.bytes, new Uint8Array([2]))
  },

  'never delivers within send': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const received = collect(fromB)
    await connect(harness, fromA, 'b', received)
    fromA.send('b', new Uint8Array([1]))
    assert.equal(received.length, 1)
    await until(harness.env, 'the message', () => received.length === 2)
  },

  'carries a message of the largest size and refuses a larger one': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const received = collect(fromB)
    const largest = new Uint8Array(fromA.maximumMessageBytes)
    largest[largest.length - 1] = 5
    fromA.send('b', largest)
    assert.throws(
      () => fromA.send('b', new Uint8Array(fromA.maximumMessageBytes + 1)),
      (error) => KeelsonError.hasCode(error, 'LIMIT_EXCEEDED'),
    )
    await until(harness.env, 'the message', () => received.length === 1)
    assert.equal(received[0]?.bytes.length, largest.length)
    assert.equal(received[0]?.bytes.at(-1), 5)
  },

  'drops at once what has no address, and what is for the node itself': async (harness) => {
    const { fromA } = await two(harness)
    assert.equal(fromA.send('nobody', new Uint8Array([1])), false)
    assert.equal(fromA.send('a', new Uint8Array([1])), false)
  },

  'drops when the queue of a peer is full': async (harness) => {
    const { fromA, fromB } = await two(harness)
    const received = collect(fromB)
    await connect(harness, fromA, 'b', received)
    const large = new Uint8Array(fromA.maximumMessageBytes)
    let accepted = 0
    while (accepted < 10_000 && fromA.send('b', large)) accepted++
    assert.ok(accepted > 0, 'not even one message was accepted')
    assert.ok(accepted < 10_000, 'the queue has no limit')
    await until(harness.env, 'what was accepted', () => received.length === accepted + 1)
    assert.equal(fromA.send('b', new Uint8Array([1])), true)
  },

  'outlives a handler that throws': async (harness) => {
    const { fromA, fromB } = await two(harness)
    let calls = 0
    fromB.onMessage(() => {
      calls++
      throw new Error('a bug of the host')
    })
    fromA.send('b', new Uint8Array([1]))
    fromA.send('b', new Uint8Array([2]))
    await until(harness.env, 'both calls', () => calls === 2)
  },
}
