// Membership by gossip: three nodes find each other through one seed; one dies, one says goodbye.
import assert from 'node:assert/strict'
import { nodeEnvironment, sleep, text, utf8 } from 'keelson'
import { Swim } from 'keelson/swim'
import { memoryDatagrams } from 'keelson/transport/memory'

const env = nodeEnvironment()
const network = memoryDatagrams()
const label = 'example'

async function start(nodeId: string, incarnation: number, seeds: string[]): Promise<Swim> {
  const socket = await network.socket()({ env, clusterId: label, nodeId })
  // For one machine, and quicker still, for the example's sake.
  const profile = {
    profile: 'local',
    probeIntervalMs: 100,
    probeTimeoutMs: 50,
    suspicionMultiplier: 1,
  } as const
  return Swim.open({
    env,
    socket,
    nodeId,
    incarnation,
    label,
    seeds,
    metadata: utf8(`zone=${nodeId}`),
    ...profile,
  })
}

const a = await start('a', 11, [])
const b = await start('b', 22, [a.self.address])
const c = await start('c', 33, [a.self.address])

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(env.timers, 10)
}

await until(() => [a, b, c].every((swim) => swim.status().members.alive === 3))
console.log(
  `a knows ${a
    .members()
    .map((each) => `${each.nodeId} (${text(each.metadata)})`)
    .join(', ')}`,
)

await c.close()
await until(() => a.member('c')?.state === 'dead')
console.log(`c was closed without a word: ${a.explain('c')?.text}`)

await b.leave()
await until(() => a.member('b')?.state === 'left')
console.log('b said goodbye, so nobody had to suspect it')
assert.deepEqual(a.status().members, { alive: 1, suspect: 0, dead: 1, left: 1 })
await b.close()
await a.close()
