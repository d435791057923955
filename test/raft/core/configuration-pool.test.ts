import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import { encodeConfiguration, makeConfiguration } from '../../../src/raft/core/configuration.ts'
import { ConfigurationHistory } from '../../../src/raft/core/configuration-history.ts'
import { ConfigurationPool } from '../../../src/raft/core/configuration-pool.ts'

const replicas = (count: number, prefix = 'n'): ReplicaDescriptor[] =>
  Array.from({ length: count }, (_, i) => ({
    replicaId: i + 1,
    nodeId: `${prefix}${i + 1}`,
    incarnation: 7,
    role: 'voter',
  }))

suite('configurations that many groups have', () => {
  test('are there once, however they came', () => {
    const pool = new ConfigurationPool()
    const first = pool.decode(encodeConfiguration(makeConfiguration(3, replicas(3))))
    assert.deepEqual(first.configuration, makeConfiguration(3, replicas(3)))
    assert.deepEqual(first.electorate.voters, [1, 2, 3])
    assert.equal(pool.decode(encodeConfiguration(makeConfiguration(3, replicas(3)))), first)
    assert.equal(pool.share(makeConfiguration(3, replicas(3))), first)
    assert.notEqual(pool.share(makeConfiguration(4, replicas(3))), first)
    const histories = [new ConfigurationHistory(pool), new ConfigurationHistory(pool)]
    histories[0]?.append(4, encodeConfiguration(makeConfiguration(3, replicas(3))))
    histories[1]?.reset(9, makeConfiguration(3, replicas(3)))
    for (const history of histories) assert.equal(history.latest?.configuration, first.configuration)
  })

  test('are read anew where they are large, or were forgotten', () => {
    const pool = new ConfigurationPool()
    const large = encodeConfiguration(makeConfiguration(1, replicas(200)))
    assert.notEqual(pool.decode(large), pool.decode(large))
    assert.deepEqual(pool.decode(large), pool.decode(large))
    const one = pool.share(makeConfiguration(1, replicas(3)))
    for (let i = 2; i <= 1024; i++) pool.share(makeConfiguration(i, replicas(3)))
    assert.equal(pool.share(makeConfiguration(1, replicas(3))), one)
    pool.share(makeConfiguration(1025, replicas(3)))
    assert.notEqual(pool.share(makeConfiguration(1, replicas(3))), one)
  })

  test('are refused where they cannot be read', () => {
    const pool = new ConfigurationPool()
    for (let i = 0; i < 2; i++) {
      assert.throws(
        () => pool.decode(new Uint8Array([1, 2, 3])),
        (error) => KeelsonError.hasCode(error, 'MALFORMED'),
      )
    }
  })
})
