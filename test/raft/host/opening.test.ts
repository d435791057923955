import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Deferred, deferred } from '../../../src/core/async.ts'
import type { Bookkeeping } from '../../../src/interfaces/index.ts'
import type { RaftHost } from '../../../src/raft/host/raft-host.ts'
import { CounterMachine } from '../support/counter-machine.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

/** Opens when it is told to, and knows whether it is open. */
class SlowMachine extends CounterMachine {
  readonly opening: Deferred<void> = deferred()
  readonly asked: Deferred<void> = deferred()
  isOpen = false

  override async open(): Promise<Bookkeeping> {
    this.asked.resolve()
    await this.opening.promise
    this.isOpen = true
    return super.open()
  }

  override async close(): Promise<void> {
    this.isOpen = false
  }
}

type Begin = (host: RaftHost, machine: SlowMachine, node: ClusterNode) => Promise<unknown>

const ways: Readonly<Record<string, Begin>> = {
  bootstrapped: (host, stateMachine, node) => {
    const replica = {
      replicaId: 1,
      nodeId: node.name,
      incarnation: node.store.incarnation,
      role: 'voter',
    } as const
    return host.bootstrap(2, { replicas: [replica], stateMachine })
  },
  opened: (host, stateMachine) => host.openGroup(1, { stateMachine }),
  awaited: (host, stateMachine) => host.awaitGroup(2, { stateMachine }),
}

suite('a host that is closed', () => {
  for (const [what, begin] of Object.entries(ways)) {
    test(`while a group is ${what} leaves no state machine open`, async () => {
      const cluster = new Cluster()
      await cluster.run(async () => {
        await cluster.bootstrap(['n1'])
        await cluster.propose('a+1')
        const node = cluster.node('n1')
        node.crash()
        node.process.restart()
        const host = await node.start()
        const machine = new SlowMachine()
        const refused = assert.rejects(begin(host, machine, node), { code: 'CLOSED' })
        await machine.asked.promise
        let closed = false
        const closing = host.close().then(() => {
          closed = true
        })
        await cluster.sleep(100)
        assert.equal(closed, false, 'something is still going on with its log')
        machine.opening.resolve()
        await refused
        await closing
        assert.equal(machine.isOpen, false)
      })
    })
  }
})

test('a state machine whose group cannot be opened is closed', async () => {
  const cluster = new Cluster()
  await cluster.run(async () => {
    await cluster.bootstrap(['n1'])
    const { host } = cluster.node('n1')
    const machine = new SlowMachine()
    machine.opening.resolve()
    machine.bookkeeping.set('replica', new Uint8Array([1, 3, 0, 0, 0, 0, 0, 0, 0]))
    await assert.rejects(host.awaitGroup(2, { stateMachine: machine }), { code: 'CONFLICT' })
    assert.equal(machine.isOpen, false)
    const other = new SlowMachine()
    other.opening.resolve()
    await host.awaitGroup(2, { stateMachine: other })
    assert.equal(other.isOpen, true)
  })
})
