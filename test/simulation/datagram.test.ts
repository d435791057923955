import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import type { DatagramSocket } from '../../src/interfaces/datagram.ts'
import { SimulatedDatagrams } from '../../src/simulation/datagram.ts'
import { NetworkConditions } from '../../src/simulation/network-conditions.ts'
import { Simulation } from '../../src/simulation/simulation.ts'

suite('simulated datagrams', () => {
  test('carry packets between addresses until the socket is closed or its process crashes', async () => {
    const simulation = new Simulation({ seed: 1 })
    const conditions = new NetworkConditions(simulation.random('network'), simulation.faults)
    const datagrams = new SimulatedDatagrams(simulation.scheduler, conditions)
    const open = async (name: string): Promise<DatagramSocket> => {
      const process = simulation.process(name)
      return datagrams.factory(process)({ env: process.environment, clusterId: 'c', nodeId: name })
    }
    const [a, b] = [await open('a'), await open('b')]
    const seen: string[] = []
    b.onMessage((from, bytes) => seen.push(`${from} ${bytes.join()}`))
    a.onMessage((from, bytes) => seen.push(`${from} ${bytes.join()}`))
    assert.equal(a.address, 'a:7946')
    a.send(b.address, new Uint8Array([1]))
    b.send(a.address, new Uint8Array([2]))
    a.send('nobody:1', new Uint8Array([3]))
    assert.equal(seen.length, 0)
    await simulation.run()
    assert.deepEqual(seen.sort(), ['a:7946 1', 'b:7946 2'])
    assert.throws(
      () => a.send(b.address, new Uint8Array(1_401)),
      (error) => KeelsonError.hasCode(error, 'LIMIT_EXCEEDED'),
    )
    assert.throws(
      () => a.send('nowhere', new Uint8Array(1)),
      (error) => KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
    )
    await assert.rejects(open('a'), (error) => KeelsonError.hasCode(error, 'IO'))
    simulation.process('b').crash()
    a.send(b.address, new Uint8Array([4]))
    b.send(a.address, new Uint8Array([5]))
    simulation.process('b').restart()
    await using again = await open('b')
    again.onMessage((from, bytes) => seen.push(`again ${from} ${bytes.join()}`))
    await a.close()
    await a.close()
    a.send(b.address, new Uint8Array([6]))
    await simulation.run()
    assert.deepEqual(seen.length, 3)
    assert.equal(seen[2], 'again a:7946 4')
  })
})
