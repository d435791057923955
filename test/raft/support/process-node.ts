// A node of its own process for test/raft/processes.test.ts: a Raft host on a real disk and a real socket, which does what
// its parent says over the IPC channel.
import { join } from 'node:path'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { toKeelsonError } from '../../../src/core/errors.ts'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import { RaftHost } from '../../../src/raft/host/raft-host.ts'
import { levelLog, openLevel } from '../../../src/storage/level/index.ts'
import { segments } from '../../../src/storage/segments/index.ts'
import { webSocket } from '../../../src/transport/websocket/index.ts'
import { LevelCounterMachine } from './level-machine.ts'

export type Request =
  | { readonly type: 'addresses'; readonly addresses: Record<string, string> }
  | { readonly type: 'bootstrap'; readonly replicas: readonly ReplicaDescriptor[] }
  | { readonly type: 'openSession' }
  | {
      readonly type: 'propose'
      readonly line: string
      readonly session: number
      readonly sequence: number
    }
  | { readonly type: 'read'; readonly name: string }
  | { readonly type: 'local'; readonly name: string }
  | { readonly type: 'status' }

const [directory, nodeId, store] = process.argv.slice(2) as [string, string, 'segments' | 'level']
const clusterId = 'processes'
const env = nodeEnvironment()
const log = await (store === 'segments' ? segments : levelLog)(join(directory, 'raft'))({
  env,
  clusterId,
  nodeId,
})
let addresses: Record<string, string> = {}
const transport = await webSocket({ listen: { host: '127.0.0.1', port: 0 } })({
  env,
  clusterId,
  self: { nodeId, incarnation: log.incarnation, role: 'node' },
  resolve: (peer) => (addresses[peer] === undefined ? [] : [addresses[peer]]),
})
const host = await RaftHost.open({
  env,
  log,
  clusterId,
  nodeId,
  channel: transport.channel('raft', { traffic: 'control' }),
  limits: { compactAfterEntries: 200, keptEntries: 20 },
})
const database = await openLevel(join(directory, 'state'))
const machine = new LevelCounterMachine(database, 'g1')
if (host.stored().has(1)) await host.openGroup(1, { stateMachine: machine })

async function handle(request: Request): Promise<unknown> {
  if (request.type === 'addresses') {
    addresses = request.addresses
    return undefined
  }
  if (request.type === 'bootstrap') {
    await host.bootstrap(1, { replicas: request.replicas, stateMachine: machine })
    return undefined
  }
  const group = host.groups().get(1)
  if (group === undefined) throw new Error('the group is not open')
  switch (request.type) {
    case 'openSession':
      return group.openSession()
    case 'propose': {
      const { line, session, sequence } = request
      return text(await group.propose(utf8(line), { commandId: { session, sequence } }))
    }
    case 'read':
      await group.read()
      return machine.value(request.name)
    case 'local':
      return machine.value(request.name)
    case 'status': {
      const { role, term, appliedIndex, lastIndex, leader } = group.status()
      return {
        role,
        term,
        appliedIndex,
        lastIndex,
        leader: leader?.nodeId,
        serving: group.token() !== undefined,
      }
    }
  }
}

async function answer({ id, request }: { id: number; request: Request }): Promise<void> {
  try {
    process.send?.({ id, value: await handle(request) })
  } catch (error) {
    process.send?.({ id, error: toKeelsonError(error).toJSON() })
  }
}

process.on('message', (message: { id: number; request: Request }) => {
  void answer(message)
})
process.on('disconnect', () => process.exit(1))
process.send?.({ id: 0, value: { address: transport.addresses[0], incarnation: log.incarnation } })
