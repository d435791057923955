import type { Cleanup } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import type { DatagramFactory } from '../interfaces/datagram.ts'
import type { PeerIdentity } from '../interfaces/transport.ts'
import type { ClusterId, FoundingId } from '../model/ids.ts'
import { Swim } from '../swim/index.ts'

/** Where and as whom to gossip. */
export interface GossipParts {
  readonly env: Environment
  /** Listens at the same host and port as the transport, so that one address serves for both. */
  readonly datagrams: DatagramFactory
  readonly clusterId: ClusterId
  /** Gossip of another founding of the cluster is not heard. */
  readonly founding: FoundingId | undefined
  readonly self: PeerIdentity
  readonly seeds: readonly string[]
  readonly cleanup: Cleanup
}

/** Takes part in the gossip; what it learns are hints. */
export async function openGossip(parts: GossipParts): Promise<Swim> {
  const { env, clusterId, founding, self, seeds, cleanup } = parts
  const socket = await parts.datagrams({ env, clusterId, nodeId: self.nodeId })
  const swim = cleanup.use(
    await Swim.open({
      env,
      socket,
      nodeId: self.nodeId,
      incarnation: self.incarnation,
      label: founding === undefined ? clusterId : `${clusterId.slice(0, 40)}.${founding}`,
      seeds,
    }),
  )
  // Others then need not find out by themselves that this node is gone.
  cleanup.add(() => swim.leave())
  return swim
}
