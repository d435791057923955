// One of the three server processes: a Raft host with a group that only counts, and one that is the metadata store.

import { join } from 'node:path'
import { nodeEnvironment, utf8 } from 'keelson/core'
import { MetadataServer, MetadataStateMachine } from 'keelson/metadata'
import { type RaftGroup, RaftHost } from 'keelson/raft'
import { levelLog, openLevel } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'
import { webSocket } from 'keelson/transport/websocket'
import { countingMachine, DurableCounter } from './counting-machine.ts'
import { load, type Spent, watchSpending } from './load.ts'
import { watch } from './profile.ts'
import {
  type Answer,
  clusterId,
  countingGroup,
  durableGroup,
  metadataGroup,
  type Request,
  serveRequests,
  settingsOfProcess,
} from './protocol.ts'

const { name: nodeId, directory, store, clockDriftBound } = settingsOfProcess()
const env = nodeEnvironment()
const payload = new Uint8Array(100).fill(120)
const log = await (store === 'level' ? levelLog : segments)(join(directory, 'raft'))({
  env,
  clusterId,
  nodeId,
})
let addresses: Readonly<Record<string, string>> = {}
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
  raft: { clockDriftBound },
})
const database = await openLevel(join(directory, 'state'))
const machine = new MetadataStateMachine({ database, prefix: 'metadata/' })
let spent: () => Spent | Promise<Spent> = watchSpending()

const durable = [
  [metadataGroup, machine],
  [durableGroup, new DurableCounter(database, utf8('count/'))],
] as const
if (host.stored().size > 0) {
  for (const [groupId, stateMachine] of durable) await host.openGroup(groupId, { stateMachine })
  await serveMetadata()
}
serveRequests(answer, (given) => {
  addresses = given
})
process.send?.({ type: 'hello', address: transport.addresses[0], incarnation: log.incarnation })

async function serveMetadata(): Promise<void> {
  const channel = transport.channel('metadata')
  await MetadataServer.open({ env, group: group(metadataGroup), machine, channel })
}

function group(groupId: number): RaftGroup {
  const found = host.groups().get(groupId)
  if (found === undefined) throw new Error(`group ${groupId} is not open`)
  return found
}

async function answer(request: Request): Promise<Answer> {
  switch (request.type) {
    case 'begin':
      for (const [groupId, stateMachine] of [[countingGroup, countingMachine()] as const, ...durable]) {
        await host.bootstrap(groupId, { replicas: request.replicas, stateMachine })
      }
      await serveMetadata()
      return undefined
    case 'leads':
      return host.groups().get(request.group)?.token() !== undefined
    case 'handOver': {
      const { configuration } = group(request.group).status()
      const heir = configuration?.replicas.find((replica) => replica.nodeId === request.to)
      if (heir !== undefined) await group(request.group).transferLeadership(heir.replicaId)
      return undefined
    }
    case 'load': {
      const counting = group(countingGroup)
      const readMode = request.operation === 'leaseRead' ? 'lease' : 'readIndex'
      const operation =
        request.operation === 'propose'
          ? async () => counting.propose(payload)
          : async () => counting.read({ readMode })
      return load(request.outstanding, request.seconds, operation)
    }
    case 'watchSpending':
      spent = await watch(request.profile)
      return undefined
    case 'spent':
      return spent()
    case 'write':
      await group(durableGroup).propose(utf8('one more'))
      return undefined
  }
}
