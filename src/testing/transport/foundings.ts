import assert from 'node:assert/strict'
import { KeelsonError } from '../../core/errors.ts'
import { until } from '../compliance.ts'
import { collect, connect, refused, type TransportCase, two } from './harness.ts'

/** Two clusters of one id, after a server that had lost its disk began the second one. @internal */
export const foundingCases: Readonly<Record<string, TransportCase>> = {
  'refuses a peer of another founding of the cluster, on both sides': async (harness) => {
    const a = await harness.open({ nodeId: 'a', founding: 7 })
    const b = await harness.open({ nodeId: 'b', founding: 8 })
    assert.equal(a.founding, 7)
    for (const [from, to] of [[a, b] as const, [b, a] as const]) {
      const { details } = await refused(from.dial(to.addresses[0] as string), 'FOREIGN_CLUSTER')
      assert.deepEqual(new Set([details['founding'], details['peerFounding']]), new Set([7, 8]))
    }
    const client = await harness.open({ nodeId: 'c', role: 'client', founding: 8 })
    await refused(client.dial(a.addresses[0] as string), 'FOREIGN_CLUSTER')
    assert.deepEqual(a.peers(), [])
  },

  'takes a peer of the same founding, and one that does not know it': async (harness) => {
    const a = await harness.open({ nodeId: 'a', founding: 7 })
    const b = await harness.open({ nodeId: 'b', founding: 7 })
    const c = await harness.open({ nodeId: 'c' })
    assert.equal(c.founding, undefined)
    assert.deepEqual(await a.dial(b.addresses[0] as string), b.self)
    assert.deepEqual(await c.dial(a.addresses[0] as string), a.self)
  },

  'fixes its founding once': async (harness) => {
    const a = await harness.open({ nodeId: 'a' })
    a.belongTo(7)
    a.belongTo(7)
    assert.equal(a.founding, 7)
    const foreign = (error: unknown): boolean => KeelsonError.hasCode(error, 'FOREIGN_CLUSTER')
    assert.throws(() => a.belongTo(8), foreign)
    assert.throws(
      () => a.belongTo(0),
      (error) => KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
    )
    assert.equal(a.founding, 7)
    const b = await harness.open({ nodeId: 'b', founding: 8 })
    await refused(a.dial(b.addresses[0] as string), 'FOREIGN_CLUSTER')
  },

  'breaks the connection of two that learn that they belong to different foundings': async (harness) => {
    const { a, b, fromA, fromB } = await two(harness)
    const [toA, toB] = [collect(fromA), collect(fromB)]
    await connect(harness, fromA, 'b', toB)
    await connect(harness, fromB, 'a', toA)
    a.belongTo(7)
    b.belongTo(8)
    await until(harness.env, 'they part', () => a.peers().length === 0 && b.peers().length === 0)
    const [before, beforeB] = [toA.length, toB.length]
    const c = await harness.open({ nodeId: 'c', founding: 7 })
    const toC = collect(c.channel('test'))
    // What reaches c has left after what a and b have for each other.
    await until(harness.env, 'a message to c', () => {
      fromA.send('b', new Uint8Array([1]))
      fromB.send('a', new Uint8Array([1]))
      fromA.send('c', new Uint8Array([1]))
      return toC.length > 3
    })
    assert.deepEqual([toA.length, toB.length], [before, beforeB])
    assert.ok(a.peers().every(({ nodeId }) => nodeId === 'c'))
    assert.deepEqual(b.peers(), [])
  },

  'connects again when both learn that they belong together': async (harness) => {
    const { a, b, fromA, fromB } = await two(harness)
    const toB = collect(fromB)
    await connect(harness, fromA, 'b', toB)
    a.belongTo(7)
    b.belongTo(7)
    const before = toB.length
    await until(harness.env, 'a message after it', () => {
      fromA.send('b', new Uint8Array([1]))
      return toB.length > before
    })
  },
}
