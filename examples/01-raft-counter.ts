// Three Raft nodes in one process, in memory: a counter that all of them have, and a command that takes effect once.
import assert from 'node:assert/strict'
import { nodeEnvironment, type ReplicaDescriptor, type StateMachine, sleep, text, utf8 } from 'keelson'
import { type RaftGroup, RaftHost } from 'keelson/raft'
import { LevelState } from 'keelson/storage/level'
import { memoryLevel, memoryLog } from 'keelson/storage/memory'
import { memoryNetwork } from 'keelson/transport/memory'

/** Adds up numbers. LevelState does the rest: what Raft keeps beside the state, snapshots, restores. */
class Counter extends LevelState implements StateMachine {
  readonly apply: StateMachine['apply'] = async (commands, seal) => {
    let total = Number(text((await this.get(utf8('total'))) ?? utf8('0')))
    const results = commands.map(({ data }) => {
      total += Number(text(data))
      return utf8(String(total))
    })
    const batch = this.batch()
    batch.put(utf8('total'), utf8(String(total)))
    await this.commit(batch, seal(results))
  }

  async close(): Promise<void> {}
}

const env = nodeEnvironment()
const network = memoryNetwork()
const clusterId = 'example'
const nodes = []
for (const nodeId of ['n1', 'n2', 'n3']) {
  // The log knows the incarnation of its disk, which the transport shows to the others.
  const log = await memoryLog()({ env, clusterId, nodeId })
  const self = { nodeId, incarnation: log.incarnation, role: 'node' } as const
  const transport = await network.transport()({ env, clusterId, self, resolve: network.resolve })
  const host = await RaftHost.open({
    env,
    log,
    clusterId,
    nodeId,
    channel: (protocol) => transport.channel(protocol),
  })
  nodes.push({ transport, host, counter: new Counter(memoryLevel(), utf8('counter/')) })
}
const replicas = nodes.map(
  ({ host }, i): ReplicaDescriptor => ({
    replicaId: i + 1,
    nodeId: host.nodeId,
    incarnation: host.incarnation,
    role: 'voter',
  }),
)
const groups: RaftGroup[] = []
for (const { host, counter } of nodes)
  groups.push(await host.bootstrap(1, { replicas, stateMachine: counter }))

let leader: RaftGroup | undefined
while ((leader = groups.find((group) => group.token() !== undefined)) === undefined)
  await sleep(env.timers, 10)

const session = await leader.openSession()
const commandId = { session, sequence: 1 }
const first = text(await leader.propose(utf8('5'), { commandId }))
const again = text(await leader.propose(utf8('5'), { commandId }))
const other = text(await leader.propose(utf8('2')))
console.log(`5 was added: ${first}; the same command again: ${again}; 2 more: ${other}`)
assert.deepEqual([first, again, other], ['5', '5', '7'])

await leader.read()
console.log(
  `the leader's own copy: ${text((await nodes[groups.indexOf(leader)]?.counter.get(utf8('total'))) as Uint8Array)}`,
)
for (const { host } of nodes) await host.close()
for (const { transport } of nodes) await transport.close()
