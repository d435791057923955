import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { CityClient } from '../../../examples/citydb/client.ts'
import {
  readRequest,
  readResponse,
  sessionResponse,
  writeRequest,
} from '../../../examples/citydb/protocol.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { RangeDescriptor } from '../../../src/model/descriptors.ts'
import { encodeTuple } from '../../../src/model/tuple.ts'
import { CityNodes, type CityTestNode, key } from './support/city-nodes.ts'

const names = ['n1', 'n2', 'n3']

/** A client of nodes whose directory went away when it had these ranges. */
function clientOf(city: CityNodes, ranges: readonly RangeDescriptor[]): CityClient {
  const serving = (nodeId: string, rangeId: number): ReturnType<CityTestNode['replica']> => {
    const replica = city.nodes.find(({ node }) => node.name === nodeId)?.keeper.replicas.get(rangeId)
    if (replica?.serves === true) return replica
    throw new KeelsonError('NOT_LEADER', `${nodeId} does not hold the lease of range ${rangeId}`)
  }
  const env = city.cluster.node('n1').env
  const client = new CityClient({
    env,
    rpc: {
      call: async (nodeId, method, body) => {
        if (method !== 'write') {
          const request = readRequest.decode(body)
          const replica = serving(nodeId, request.rangeId)
          return method === 'session'
            ? sessionResponse.encode(await replica.openSession(request.key))
            : readResponse.encode(await replica.read(request.key, {}))
        }
        const request = writeRequest.decode(body)
        await serving(nodeId, request.rangeId).write(request)
        return new Uint8Array(0)
      },
    },
  })
  client.learn(ranges)
  return client
}

function described(city: CityNodes, rangeId: number, generation: number, from: string): RangeDescriptor {
  const start = from === '' ? encodeTuple([1]) : key(from)
  return { rangeId, start, end: encodeTuple([2]), generation, replicas: city.cluster.replicas(names) }
}

async function writeOnce(client: CityClient, letter: string, population: number): Promise<number> {
  const { rangeId, session } = await client.openSession(key(letter))
  await client.write({ rangeId, session, sequence: 1 }, [{ key: key(letter), columns: { population } }])
  return rangeId
}

suite('a client whose directory is away', () => {
  test('finds the rows that were split off', async () => {
    const city = new CityNodes(11)
    await city.cluster.run(async () => {
      await city.begin(...names)
      await city.write(1, 'amz')
      const client = clientOf(city, [described(city, 1, 1, '')])
      await city.split(1, 'm', 7)
      assert.equal((await client.read(key('z')))?.['population'], 1)
      assert.equal(await writeOnce(client, 'z', 5), 7)
      assert.equal((await client.read(key('z')))?.['population'], 5)
      assert.equal(await writeOnce(client, 'a', 6), 1)
      // Whoever holds the lease by now is found as well.
      const holder = await city.holder(7)
      const other = names.findIndex((name) => name !== holder.node.name)
      await city.cluster
        .node(holder.node.name)
        .group(7)
        .transferLeadership(other + 1)
      assert.equal(await writeOnce(client, 'z', 7), 7)
    })
  })

  test('finds the rows that another range has taken in', async () => {
    const city = new CityNodes(12)
    await city.cluster.run(async () => {
      await city.begin(...names)
      await city.write(1, 'amz')
      await city.split(1, 'm', 7)
      const left = { ...described(city, 1, 2, ''), end: key('m') }
      const client = clientOf(city, [left, described(city, 7, 2, 'm')])
      assert.equal(await writeOnce(client, 'z', 2), 7)
      await city.freeze(1, 7)
      const node = await city.holder(1)
      const { generation: rightGeneration } = (await city.holder(7)).replica(7)
      const late = client.read(key('z'))
      await city.cluster.sleep(500)
      await city.drive(node, 1, { type: 'merge', rightRangeId: 7, rightGeneration })
      assert.equal((await late)?.['population'], 2)
      assert.equal(await writeOnce(client, 'z', 3), 1)
      assert.equal((await client.read(key('z')))?.['population'], 3)
    })
  })
})
