import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import type { KeelsonError } from '../../src/core/errors.ts'
import { nodeEnvironment } from '../../src/core/node-environment.ts'
import { KeyRotation, Swim } from '../../src/swim/index.ts'
import { until } from '../../src/testing/index.ts'
import { datagram, KeyRing } from '../../src/transport/datagram/index.ts'

const env = nodeEnvironment()

interface Member extends AsyncDisposable {
  readonly swim: Swim
  readonly ring: KeyRing
  readonly rotation: KeyRotation
}

async function open(nodeId: string, key: Uint8Array, seeds: readonly string[]): Promise<Member> {
  const ring = new KeyRing([key])
  const socket = await datagram({ listen: { host: '127.0.0.1', port: 0 }, keyRing: ring })({
    env,
    clusterId: 'keys',
    nodeId,
  })
  const swim = await Swim.open({
    env,
    socket,
    nodeId,
    incarnation: 1,
    label: 'keys',
    seeds,
    profile: 'local',
    probeIntervalMs: 100,
    probeTimeoutMs: 50,
    gossipIntervalMs: 10,
    syncIntervalMs: 300,
    reconnectIntervalMs: 300,
  })
  const rotation = new KeyRotation({ env, swim, keys: ring, checkIntervalMs: 100, timeoutMs: 2_000 })
  return {
    swim,
    ring,
    rotation,
    [Symbol.asyncDispose]: async () => {
      await rotation.close()
      await swim.close()
    },
  }
}

const newKey = (): Uint8Array => new Uint8Array(randomBytes(32))
const idOf = (key: Uint8Array): string => new KeyRing([key]).ids[0] as string

suite('gossip keys', { timeout: 60_000 }, () => {
  test('change while the cluster runs, and a node that was down comes back', async () => {
    const [old, fresh] = [newKey(), newKey()]
    await using a = await open('a', old, [])
    const seeds = [a.swim.self.address]
    await using b = await open('b', old, seeds)
    await using c = await open('c', old, seeds)
    const all = [a, b, c]
    await until(env, 'all know all', () => all.every(({ swim }) => swim.status().members.alive === 3))
    await b.rotation.rotate(fresh)
    for (const { ring } of all) assert.deepEqual(ring.ids, [idOf(fresh), idOf(old)])
    // It was down, and knows nothing of the new key.
    await using late = await open('late', old, seeds)
    await until(env, 'it is taken in', () =>
      [...all, late].every(({ swim }) => swim.status().members.alive === 4),
    )
    await until(env, 'it has the new key', () => late.ring.ids[0] === idOf(fresh))
    await a.rotation.retire(old)
    for (const { ring } of [...all, late]) assert.deepEqual(ring.ids, [idOf(fresh)])
    await assert.rejects(a.rotation.retire(fresh), (error: KeelsonError) => {
      assert.equal(error.code, 'CONFLICT', 'the key in use stays')
      assert.equal(error.retryable, false)
      assert.deepEqual(String(error.details['refused']).split(',').sort(), ['a', 'b', 'c', 'late'])
      return true
    })
    assert.deepEqual(c.ring.ids, [idOf(fresh)])
  })

  test('a member that cannot answer is named, and nothing is lost', async () => {
    const [old, fresh] = [newKey(), newKey()]
    await using a = await open('a', old, [])
    const seeds = [a.swim.self.address]
    await using b = await open('b', old, seeds)
    await until(env, 'both know both', () => [a, b].every(({ swim }) => swim.status().members.alive === 2))
    await b.rotation.close()
    await assert.rejects(a.rotation.rotate(fresh), {
      code: 'UNREACHABLE',
      details: { missing: 'b', phase: 'add' },
    })
    assert.equal(a.ring.ids[0], idOf(old))
    assert.equal(a.swim.member('b')?.state, 'alive')
  })
})
