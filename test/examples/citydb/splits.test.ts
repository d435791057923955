import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { exportResponse } from '../../../examples/citydb/protocol.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { RangeDescriptor } from '../../../src/model/descriptors.ts'
import type { RaftHost } from '../../../src/raft/host/raft-host.ts'
import { isolate } from '../../../src/simulation/index.ts'
import { CityNodes, type CityTestNode, key } from './support/city-nodes.ts'

const signal = new AbortController().signal

/** The right-hand range as the directory has it when one node has reported it. */
function described(city: CityNodes, generation: number, names: readonly string[]): RangeDescriptor {
  return {
    rangeId: 7,
    start: key('m'),
    end: undefined,
    generation,
    replicas: city.cluster.replicas(names),
  }
}

async function tell(node: CityTestNode, descriptor: RangeDescriptor): Promise<void> {
  await node.keeper.reconcile([{ rangeId: 7, descriptor, member: true, bootstrap: false }], signal)
}

/** A host that makes no group of a split as long as it is told not to. */
function failing(host: RaftHost, fails: () => boolean): RaftHost {
  return new Proxy(host, {
    get: (target, name) => {
      if (name === 'adoptGroup' && fails())
        return async () => Promise.reject(new KeelsonError('LIMIT_EXCEEDED', 'no more groups for now'))
      const value = Reflect.get(target, name) as unknown
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

suite('a range of citydb is split', () => {
  test('the rows stay on all disks, whoever hears first of the right-hand range', async () => {
    const city = new CityNodes(1)
    const { cluster } = city
    await cluster.run(async () => {
      await city.begin('n1', 'n2', 'n3')
      await city.write(1, 'amtz')
      const first = await city.holder(1)
      const others = city.nodes.filter((node) => node !== first)
      const goOn = others.map((node) => city.holdUp(node, 1))
      const { generation } = first.replica(1)
      await first.replica(1).changeBounds({ type: 'split', generation, key: key('m'), rightRangeId: 7 }, {})
      await cluster.until(() => first.keeper.replicas.has(7), 'the first replica')
      // The directory heard of it from the first one, and tells the others, who have not come to the split.
      const descriptor = described(city, first.replica(7).generation, ['n1', 'n2', 'n3'])
      for (const node of others) await tell(node, descriptor)
      cluster.conditions.partition(isolate(first.node.name, ['n1', 'n2', 'n3']))
      for (const open of goOn) open()
      await cluster.sleep(100)
      for (const node of others) node.keeper.lookAgain()
      first.node.crash('power')
      first.node.process.restart()
      const [second] = others as [CityTestNode]
      await cluster.until(
        () => others.some((node) => node.keeper.replicas.get(7)?.serves === true),
        'a leader',
      )
      assert.equal(await second.rows(7), 'mtz')
      assert.equal(await second.rows(1), 'a')
    })
  })

  test('a replica that could not be made is made later, out of what is there', async () => {
    const city = new CityNodes(2)
    const { cluster } = city
    await cluster.run(async () => {
      await city.begin('n1')
      await city.write(1, 'amtz')
      const [node] = city.nodes as [CityTestNode]
      let full = true
      node.node.crash('kill')
      await node.restart((host) => failing(host, () => full))
      const replica = (await city.holder(1)).replica(1)
      const { generation } = replica
      await replica.changeBounds({ type: 'split', generation, key: key('m'), rightRangeId: 7 }, {})
      await cluster.sleep(50)
      assert.equal(node.keeper.replicas.has(7), false)
      // Whatever is tried meanwhile takes nothing of what the split has made, and none of its notes.
      const descriptor = described(city, generation + 1, ['n1'])
      await assert.rejects(tell(node, descriptor), { code: 'LIMIT_EXCEEDED' })
      node.keeper.lookAgain()
      await cluster.sleep(50)
      // Nor does it keep the node from starting.
      node.node.crash('kill')
      await node.restart((host) => failing(host, () => full))
      await cluster.until(() => cluster.serving(1) !== undefined, 'a node that serves')
      await cluster.sleep(50)
      assert.equal(await node.rows(1), 'a')
      assert.equal(node.keeper.replicas.has(7), false)
      full = false
      node.keeper.lookAgain()
      await cluster.until(() => node.keeper.replicas.get(7)?.serves === true, 'the right-hand range')
      assert.equal(await node.rows(7), 'mtz')
      // The note has done its work.
      node.node.crash('power')
      await node.restart()
      await cluster.until(() => node.keeper.replicas.get(7)?.serves === true, 'the right-hand range again')
      assert.equal(await node.rows(7), 'mtz')
    })
  })

  test('a node that is a member again under another id drops what a late split has made', async () => {
    const city = new CityNodes(3)
    const { cluster } = city
    await cluster.run(async () => {
      await city.begin('n1', 'n2', 'n3')
      await city.write(1, 'amtz')
      if ((await city.holder(1)).node.name === 'n3') await cluster.node('n3').group(1).transferLeadership(1)
      await cluster.until(() => ['n1', 'n2'].includes(cluster.serving(1)?.name ?? ''), 'another leader')
      const n3 = city.nodes[2] as CityTestNode
      const goOn = city.holdUp(n3, 1)
      await city.split(1, 'm', 7)
      const right = (): CityTestNode =>
        city.nodes.find(({ keeper }) => keeper.replicas.get(7)?.serves === true) as CityTestNode
      await cluster.until(
        () => (cluster.nodes.get('n2')?.host.groups().has(7) ?? false) && right() !== undefined,
        'two replicas',
      )
      await right().replica(7).group.changeMembership({ type: 'remove', replicaId: 3 })
      const { incarnation } = n3.node.store
      await right().replica(7).group.changeMembership({ type: 'addLearner', nodeId: 'n3', incarnation })
      goOn()
      await cluster.until(() => n3.keeper.replicas.get(7)?.group.status().replicaId === 3, 'a late replica')
      const { appliedConfiguration } = right().replica(7).group.status()
      const descriptor = {
        ...described(city, right().replica(7).generation, []),
        replicas: appliedConfiguration?.replicas ?? [],
      }
      await tell(n3, descriptor)
      const shown = descriptor.replicas.find(({ nodeId }) => nodeId === 'n3')
      await cluster.until(
        () => n3.keeper.replicas.get(7)?.group.status().replicaId === shown?.replicaId,
        'the replica that was added',
      )
      await cluster.until(() => n3.replica(7).machine.layout.bounds !== undefined, 'its content')
      assert.equal(await n3.rows(7), 'mtz')
    })
  })
})

suite('commands whose ranges were split and merged', () => {
  async function visits(city: CityNodes, rangeId: number, letter: string): Promise<unknown> {
    return (await (await city.holder(rangeId)).replica(rangeId).machine.row(key(letter)))?.['visits']
  }
  const visit = async (
    city: CityNodes,
    at: number,
    letter: string,
    command: { rangeId: number; session: number; sequence: number },
  ): Promise<void> =>
    (await city.holder(at)).replica(at).increment({
      rangeId: at,
      command,
      key: key(letter),
      column: 'visits',
      amount: 1,
    })
  const join = async (city: CityNodes, left: number, right: number): Promise<void> => {
    await city.freeze(left, right)
    await city.merge(left, right)
    assert.deepEqual(
      city.nodes.map(({ keeper }) => keeper.replicas.has(right)),
      [false],
    )
  }

  test('take effect once, also where one of them has refused them', async () => {
    const city = new CityNodes(4)
    await city.cluster.run(async () => {
      await city.begin('n1')
      const session = await (await city.holder(1)).replica(1).openSession()
      const [first, second] = [1, 2].map((sequence) => ({ rangeId: 1, session, sequence })) as [never, never]
      await city.split(1, 'h', 8)
      await city.split(8, 't', 9)
      // On its way to a range that does not hold the row any more, and then to the one that does.
      await city.late(8, 'z', first)
      await visit(city, 9, 'z', first)
      await city.late(9, 'c', second)
      await visit(city, 1, 'c', second)
      await join(city, 8, 9)
      await join(city, 1, 8)
      await visit(city, 1, 'z', first)
      await visit(city, 1, 'c', second)
      assert.equal(await visits(city, 1, 'z'), 1)
      assert.equal(await visits(city, 1, 'c'), 1)
    })
  })

  test('are not taken for new ones when nobody knows any more', async () => {
    const city = new CityNodes(5)
    await city.cluster.run(async () => {
      await city.begin('n1')
      const session = await (await city.holder(1)).replica(1).openSession()
      const command = { rangeId: 1, session, sequence: 1 }
      await city.split(1, 'm', 100)
      const generation = (await city.holder(1)).replica(1).generation
      await visit(city, 100, 'z', command)
      await join(city, 1, 100)
      await visit(city, 1, 'z', command)
      for (let rangeId = 101; rangeId <= 116; rangeId++) {
        await city.split(1, 'm', rangeId)
        await join(city, 1, rangeId)
      }
      await assert.rejects(visit(city, 1, 'z', command), CityNodes.isRefused('SESSION_UNKNOWN'))
      assert.equal(await visits(city, 1, 'z'), 1)
      // A new session is as good as ever, also for what its command has to do in a range that is split off.
      const fresh = {
        rangeId: 1,
        session: await (await city.holder(1)).replica(1).openSession(),
        sequence: 1,
      }
      await visit(city, 1, 'z', fresh)
      await city.split(1, 'm', 200)
      await visit(city, 200, 'z', fresh)
      assert.equal(await visits(city, 200, 'z'), 2)
      // Sessions may be forgotten, but not that the range was merged: it must never go on.
      const node = await city.holder(1)
      assert.equal(await node.driver.ruleOut(node.replica(1), 100, generation), false)
    })
  })
})

suite('merges of citydb', () => {
  test('go through at the second attempt, although each replica keeps its client sessions its own way', async () => {
    const city = new CityNodes(6)
    await city.cluster.run(async () => {
      await city.begin('n1')
      await city.write(1, 'amz')
      await city.split(1, 'm', 7)
      await city.freeze(1, 7)
      const { answer } = city
      const [node] = city.nodes as [CityTestNode]
      // The first attempt reads from a replica whose results lie in other blocks, and does not get to its end.
      node.ask = async (rangeId, method, body) => {
        const part = exportResponse.decode(await answer.call(city, rangeId, method, body))
        const other = part.pairs.map(([at, value]) => [Uint8Array.of(...at, 0x30), value] as const)
        return exportResponse.encode({ ...part, pairs: [...part.pairs, ...other] })
      }
      const replica = node.replica(1)
      const { changeBounds } = replica
      replica.changeBounds = async () => Promise.reject(new KeelsonError('NOT_LEADER', 'it led until now'))
      const { generation: rightGeneration } = node.replica(7)
      await city.drive(node, 1, { type: 'merge', rightRangeId: 7, rightGeneration })
      replica.changeBounds = changeBounds
      node.ask = async (rangeId, method, body) => answer.call(city, rangeId, method, body)
      await city.merge(1, 7)
      assert.equal(await node.rows(1), 'amz')
    })
  })

  test('an answer about one freeze does not end a later one', async () => {
    const city = new CityNodes(7)
    await city.cluster.run(async () => {
      await city.begin('n1')
      await city.write(1, 'amz')
      await city.split(1, 'm', 7)
      await city.freeze(1, 7)
      const [node] = city.nodes as [CityTestNode]
      const [left, right] = [node.replica(1), node.replica(7)]
      let asked = false
      node.ask = async (...call) => {
        const answer = await city.answer(...call)
        if (asked) return answer
        asked = true
        // Meanwhile the leader of the control plane has ended this freeze as well, and begun the next.
        await right.changeBounds({ type: 'thaw', generation: right.generation }, {})
        await city.freeze(1, 7)
        return answer
      }
      node.driver.lookAfter(right)
      await city.cluster.sleep(1_100)
      node.driver.lookAfter(right)
      await city.cluster.sleep(100)
      assert.equal(asked, true)
      assert.equal(right.machine.layout.frozen?.intoGeneration, left.generation)
      await city.merge(1, 7)
      assert.equal(await node.rows(1), 'amz')
    })
  })
})
