import { nodeEnvironment } from 'keelson/core'
import { Swim } from 'keelson/swim'
import { datagram, KeyRing } from 'keelson/transport/datagram'
import type { FromHost, HostReport, ToHost } from './socket-protocol.ts'

// One process with some members, each with its own socket and encryption, as bench/swim/sockets.ts asks for.

const keyRing = new KeyRing([new Uint8Array(32).fill(7)])
const swims: Swim[] = []

function say(message: FromHost): void {
  process.send?.(message)
}

async function open(nodeIds: readonly string[], seeds: readonly string[]): Promise<void> {
  for (const nodeId of nodeIds) {
    const env = nodeEnvironment()
    const factory = datagram({ listen: { host: '127.0.0.1', port: 0 }, keyRing })
    const swim = await Swim.open({
      env,
      socket: await factory({ env, clusterId: 'bench', nodeId }),
      nodeId,
      incarnation: 1,
      label: 'bench',
      seeds: seeds.length > 0 ? seeds : swims.slice(0, 1).map(({ self }) => self.address),
    })
    swim.on('change', ({ type, member }) => {
      if (type === 'failed') say({ type: 'failed', about: member.nodeId, atMs: Date.now() })
    })
    swims.push(swim)
  }
  say({ type: 'opened', addresses: swims.map(({ self }) => self.address) })
}

function report(): HostReport {
  const statuses = swims.map((swim) => swim.status())
  const { user, system } = process.cpuUsage()
  return {
    packets: statuses.reduce((sum, { counters }) => sum + counters.packetsSent, 0),
    bytes: statuses.reduce((sum, { counters }) => sum + counters.bytesSent, 0),
    cpuMs: (user + system) / 1_000,
    smallestView: Math.min(...statuses.map(({ members }) => members.alive)),
  }
}

process.on('message', (message: ToHost) => {
  if (message.type === 'open') {
    void open(message.nodeIds, message.seeds).catch((error: unknown) => {
      console.error(error)
      process.exit(1)
    })
  } else say({ type: 'report', report: report() })
})
process.on('disconnect', () => process.exit(0))
