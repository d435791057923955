import type { Cleanup } from '../core/async.ts'
import { utf8 } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { type OptionCheck, objectOption, optional } from '../core/options.ts'
import type { DatagramFactory } from '../interfaces/datagram.ts'
import type { PeerIdentity, Transport } from '../interfaces/transport.ts'
import type { ClusterId } from '../model/ids.ts'
import { type ByteLevel, byteEncodings } from '../storage/level/database.ts'
import {
  checkSwimSettings,
  KeyRotation,
  type RotatingKeys,
  Swim,
  type SwimSettings,
  type SwimSnapshotStore,
} from '../swim/index.ts'

/** How a server or a node gossips. */
export interface GossipOptions extends SwimSettings {
  /**
   * The ring of keys that `datagrams` encrypts with. Given, the keys can be changed while the cluster runs. Default: they
   * stay what they are.
   */
  readonly keys?: RotatingKeys
}

/** Gossip of a server or a node that was opened. */
export interface Gossip {
  /** Who is there, as far as gossip knows. */
  readonly swim: Swim
  /** Changes the keys of the whole cluster's gossip; undefined without `gossip.keys`. */
  readonly keys: KeyRotation | undefined
}

/** Where and as whom to gossip. */
export interface GossipParts {
  readonly env: Environment
  /** Listens at the same host and port as the transport, so that one address serves for both. */
  readonly datagrams: DatagramFactory
  readonly options: GossipOptions | undefined
  readonly clusterId: ClusterId
  /** Carries whole views, and asks those whom datagrams do not reach. Gossip of another founding of the cluster is not heard. */
  readonly transport: Transport
  readonly self: PeerIdentity
  readonly seeds: readonly string[]
  /** Remembers where members were. */
  readonly database: ByteLevel
  readonly cleanup: Cleanup
}

/** Takes part in the gossip; what it learns are hints. */
export async function openGossip(parts: GossipParts): Promise<Gossip> {
  const { env, clusterId, transport, self, seeds, database, cleanup } = parts
  const { keys, ...settings } = parts.options ?? {}
  const { founding } = transport
  const socket = cleanup.use(await parts.datagrams({ env, clusterId, nodeId: self.nodeId }))
  const swim = cleanup.use(
    await Swim.open({
      ...settings,
      env,
      socket,
      nodeId: self.nodeId,
      incarnation: self.incarnation,
      label: founding === undefined ? clusterId : `${clusterId.slice(0, 40)}.${founding}`,
      seeds,
      channel: transport.channel('swim', { traffic: 'control' }),
      snapshots: snapshotsIn(database),
    }),
  )
  // Others then need not find out by themselves that this node is gone.
  cleanup.add(() => swim.leave())
  return { swim, keys: keys === undefined ? undefined : cleanup.use(new KeyRotation({ env, swim, keys })) }
}

/** Checks the option `gossip`. @throws KeelsonError `INVALID_OPTION` */
export const gossipOption: OptionCheck<GossipOptions | undefined> = (value, name) => {
  if (value === undefined) return undefined
  checkSwimSettings<{ readonly keys: RotatingKeys | undefined }>(name, value, {
    keys: optional(objectOption<RotatingKeys>(['ids', 'mismatches', 'add', 'use', 'remove', 'secrets'])),
  })
  return value as GossipOptions
}

const snapshotKey = utf8('gossip/snapshot')

/** A snapshot beside the rest of what a process keeps. It need not be durable: it is made again all the time. */
function snapshotsIn(database: ByteLevel): SwimSnapshotStore {
  return {
    load: async () => database.get(snapshotKey, byteEncodings),
    save: async (snapshot) => {
      const batch = database.batch()
      batch.put(snapshotKey, snapshot, byteEncodings)
      await batch.write()
    },
  }
}
