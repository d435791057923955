import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { splitBookkeeping } from '../../../src/raft/group/split-state.ts'
import { CounterMachine, copyDisk } from '../support/counter-machine.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

/** One node with groups 1 and 2, each with a value of its own that is durable in its state. */
async function twoGroups(body: (cluster: Cluster, node: ClusterNode) => Promise<void>): Promise<void> {
  const cluster = new Cluster()
  await cluster.run(async () => {
    for (const groupId of [1, 2]) {
      await cluster.bootstrap(['n1'], groupId)
      for (let i = 0; i < 20 * groupId; i++) await cluster.propose(`a+${groupId}`, { groupId })
      await cluster.node('n1').machines.get(groupId)?.flush()
    }
    await body(cluster, cluster.node('n1'))
  })
}

const refused = { code: 'CONFLICT', retryable: false, message: /state of group/ }

suite('whose state a state machine holds', () => {
  test('that of a running group is given to no other one, and stays', async () => {
    await twoGroups(async (cluster, { host, states }) => {
      const first = states.get(1) as NonNullable<ReturnType<typeof states.get>>
      const again = (): CounterMachine => new CounterMachine(first)
      const replicas = cluster.replicas(['n1'])
      await assert.rejects(host.awaitGroup(3, { stateMachine: again() }), refused)
      await assert.rejects(host.bootstrap(3, { replicas, stateMachine: again() }), refused)
      await assert.rejects(host.adoptGroup(3, { stateMachine: again() }), refused)
      assert.equal(first.values.get('a'), 20)
      assert.equal(host.groups().has(3), false)
      assert.equal(await cluster.propose('a+1'), '21')
    })
  })

  test('a group does not start with the state of another one, nor is its replica given up for that', async () => {
    await twoGroups(async (_, node) => {
      await node.stop()
      await node.start()
      const { host, states } = node
      // That of group 2 is further on than the log of group 1, as if that had lost something.
      await assert.rejects(host.openGroup(1, { stateMachine: node.machine(2) }), refused)
      await assert.rejects(host.openGroup(2, { stateMachine: node.machine(1) }), refused)
      for (const groupId of [1, 2]) {
        const group = await host.openGroup(groupId, { stateMachine: node.machine(groupId) })
        assert.equal(group.status().quarantined, false)
        assert.equal(states.get(groupId)?.values.get('a'), groupId * groupId * 20)
      }
    })
  })

  test('one that an earlier release stored is opened, and says from its next entry on whose it is', async () => {
    await twoGroups(async (cluster, node) => {
      await node.stop()
      for (const { bookkeeping } of node.states.values()) assert.ok(bookkeeping.delete('group'))
      await node.startAgain()
      for (const groupId of [1, 2]) {
        await cluster.propose('a+1', { groupId })
        await node.machines.get(groupId)?.flush()
      }
      await node.stop()
      await node.start()
      await assert.rejects(node.host.openGroup(1, { stateMachine: node.machine(2) }), refused)
    })
  })

  test('one object is the state machine of one group', async () => {
    await twoGroups(async (cluster, node) => {
      const { host } = node
      const [machine] = [...node.machines.values()]
      const stateMachine = machine as CounterMachine
      const replicas = cluster.replicas(['n1'])
      const inUse = { code: 'CONFLICT', retryable: false, message: /that of group 1/ }
      await assert.rejects(host.bootstrap(3, { replicas, stateMachine }), inUse)
      await assert.rejects(host.awaitGroup(3, { stateMachine }), inUse)
      const fresh = new CounterMachine()
      const [first, second] = await Promise.allSettled([
        host.awaitGroup(3, { stateMachine: fresh }),
        host.awaitGroup(4, { stateMachine: fresh }),
      ])
      assert.deepEqual([first.status, second.status], ['fulfilled', 'rejected'])
      // Once the group is gone the object is nobody's.
      await host.destroyGroup(3)
      await host.awaitGroup(4, { stateMachine: fresh })
      assert.equal(await cluster.propose('a+1'), '21')
    })
  })

  test('what a destroyed replica left over is deleted, and nothing else', async () => {
    await twoGroups(async (_, node) => {
      const { host } = node
      const left = copyDisk(node.states.get(1) as NonNullable<ReturnType<typeof node.states.get>>)
      const other = copyDisk(left)
      other.bookkeeping.set('replica', new Uint8Array([1, 9, 0, 0, 0, 0, 0, 0, 0]))
      const old = copyDisk(left)
      old.bookkeeping.delete('group')
      await host.destroyGroup(1, { confirm: 'destroy group 1' })
      for (const disk of [other, old]) {
        const machine = new CounterMachine(disk)
        await assert.rejects(host.awaitGroup(1, { stateMachine: machine }), {
          code: 'CONFLICT',
          retryable: false,
        })
        assert.equal(machine.destroyed, false)
      }
      const machine = new CounterMachine(left)
      await assert.rejects(host.awaitGroup(1, { stateMachine: machine }), {
        code: 'CONFLICT',
        retryable: true,
      })
      assert.ok(machine.destroyed)
      await host.awaitGroup(1, { stateMachine: new CounterMachine(left) })
    })
  })

  test('a replica that is not open is not destroyed with the state of another group', async () => {
    await twoGroups(async (_, node) => {
      await node.stop()
      await node.start()
      const { host } = node
      const confirm = 'destroy group 1'
      await assert.rejects(host.destroyGroup(1, { stateMachine: node.machine(2), confirm }), refused)
      assert.equal(host.stored().get(1)?.destroyed, false)
      assert.equal(node.states.get(2)?.values.get('a'), 80)
      await host.destroyGroup(1, { stateMachine: node.machine(1), confirm })
      assert.equal(node.states.get(1)?.values.size, 0)
    })
  })

  test('what is split off belongs to the group that it was split off for', async () => {
    await twoGroups(async (_, node) => {
      const disk = copyDisk(node.states.get(1) as NonNullable<ReturnType<typeof node.states.get>>)
      disk.bookkeeping = new Map(splitBookkeeping(disk.bookkeeping, 7))
      await assert.rejects(node.host.adoptGroup(8, { stateMachine: new CounterMachine(disk) }), refused)
      const group = await node.host.adoptGroup(7, { stateMachine: new CounterMachine(disk) })
      assert.equal(group.status().replicaId, 1)
    })
  })
})
