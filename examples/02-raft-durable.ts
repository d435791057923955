// A Raft group on a disk: segment files for the log, classic-level for the state. It is closed and opened again.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeEnvironment, type StateMachine, sleep, text, utf8 } from 'keelson'
import { type RaftGroup, RaftHost } from 'keelson/raft'
import { LevelState, openLevel } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'
import { memoryNetwork } from 'keelson/transport/memory'

/** A list of words, one key each. */
class Words extends LevelState implements StateMachine {
  readonly apply: StateMachine['apply'] = async (commands, seal) => {
    const batch = this.batch()
    for (const { index, data } of commands) batch.put(utf8(String(index).padStart(16, '0')), data)
    await this.commit(batch, seal(commands.map(({ index }) => utf8(String(index)))))
  }

  async close(): Promise<void> {}
}

const env = nodeEnvironment()
const clusterId = 'example'
const nodeId = 'n1'
const directory = await mkdtemp(join(tmpdir(), 'keelson-example-'))

/** One life of a process. */
async function live(body: (group: RaftGroup, words: Words) => Promise<void>): Promise<void> {
  const log = await segments(join(directory, 'log'), { segmentBytes: 1024 * 1024 })({
    env,
    clusterId,
    nodeId,
  })
  const self = { nodeId, incarnation: log.incarnation, role: 'node' } as const
  await using transport = await memoryNetwork().transport()({ env, clusterId, self, resolve: () => [] })
  await using database = await openLevel(join(directory, 'state'))
  await using host = await RaftHost.open({
    env,
    log,
    clusterId,
    nodeId,
    channel: (name) => transport.channel(name),
  })
  const words = new Words(database, utf8('words/'))
  const replicas = [{ replicaId: 1, nodeId, incarnation: log.incarnation, role: 'voter' } as const]
  const group = host.stored().has(1)
    ? await host.openGroup(1, { stateMachine: words })
    : await host.bootstrap(1, { replicas, stateMachine: words })
  while (group.token() === undefined) await sleep(env.timers, 10)
  await body(group, words)
}

try {
  await live(async (group) => {
    for (const word of ['keel', 'frame', 'plank']) await group.propose(utf8(word))
    console.log('three words were committed and synced; the process ends')
  })
  await live(async (group, words) => {
    await group.propose(utf8('mast'))
    const found: string[] = []
    for await (const [, word] of words.range()) found.push(text(word))
    console.log(`its next life has: ${found.join(', ')}`)
    assert.deepEqual(found, ['keel', 'frame', 'plank', 'mast'])
  })
} finally {
  await rm(directory, { recursive: true })
}
