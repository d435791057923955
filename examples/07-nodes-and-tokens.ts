// The life of a node: a token admits it once, its session says that it is alive, a drain sends it away.
import assert from 'node:assert/strict'
import { KeelsonError, nodeEnvironment, parseLocality, sleep } from 'keelson'
import { ControllerEpoch, memoryStore } from 'keelson/metadata'
import { NodeController, NodeSession, Nodes } from 'keelson/nodes'

const env = nodeEnvironment()
await using store = memoryStore({ env })
const replicasOf = async (): Promise<number> => 0 // no node holds data in this example
const nodes = new Nodes({ env, store, replicasOf })

const token = await nodes.createToken({ reason: 'the new machine in rack 7' })
const descriptor = {
  nodeId: 'db7',
  incarnation: 77,
  addresses: ['10.0.0.7:7000'],
  locality: parseLocality('region=eu,zone=eu-1'),
  capacity: { bytes: 1e12 },
  labels: {},
}
const request = { descriptor, credential: 'a secret that the node draws and keeps', token }
const { life } = await nodes.join(request)
console.log(`db7 joined: its ${life} life`)
await assert.rejects(nodes.join({ ...request, descriptor: { ...descriptor, nodeId: 'db8' } }), (error) =>
  KeelsonError.hasCode(error, 'UNAUTHORIZED'),
)

const epoch = await ControllerEpoch.acquire(store, 'nodes', 'leader 1')
await using controller = NodeController.start({ env, store, epoch, replicasOf, intervalMs: 50 })
await controller.ready()
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(env.timers, 10)
}

const session = await NodeSession.open({ env, store, nodeId: 'db7', incarnation: 77 })
await until(() => controller.node('db7')?.liveness === 'live')
console.log(`its session is its epoch, ${session.epoch}: ${controller.node('db7')?.liveness}`)

await nodes.drain('db7', 'the machine is old')
await until(() => controller.node('db7')?.state === 'drained')
await session.close()
await until(() => controller.node('db7')?.liveness === 'dead')
await nodes.decommission('db7', 'switched off')
const record = await nodes.get('db7')
console.log(`in the end it is ${record?.state}: ${record?.reason}`)
assert.equal(record?.state, 'decommissioned')
