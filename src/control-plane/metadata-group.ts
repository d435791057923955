import { type CallOptions, onAbort } from '../core/async.ts'
import { utf8 } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { PeerIdentity, Transport } from '../interfaces/transport.ts'
import { type MetadataStateMachine, refoundingAfter } from '../metadata/index.ts'
import type { FoundingId } from '../model/ids.ts'
import type { RaftGroup, RaftHost } from '../raft/index.ts'
import { type ByteLevel, byteEncodings } from '../storage/level/database.ts'
import type { Rpc } from '../transport/rpc.ts'
import type { AddressBook } from './address-book.ts'
import type { ClusterStart } from './cluster-start.ts'
import type { ControlPlaneOptions } from './control-plane-options.ts'
import { putFounding } from './founding.ts'
import { callLeader } from './leader-calls.ts'
import { encodeServerJoin } from './server-admission.ts'

/** Id of the group that holds the metadata. */
export const metadataGroupId = 1

/** What a server has before it takes part in the metadata group. */
export interface BeginParts {
  readonly options: ControlPlaneOptions
  readonly self: PeerIdentity
  readonly book: AddressBook
  readonly transport: Transport
  readonly rpc: Rpc
  readonly rafts: RaftHost
}

/**
 * A server whose log is gone but whose state is still there once belonged to a cluster: that one is not to be begun
 * again beside it, and its state not to be thrown away.
 */
export async function refuseLeftovers(database: ByteLevel, founding: FoundingId | undefined): Promise<void> {
  const [found] = await database
    .iterator({ ...byteEncodings, gte: utf8('metadata/'), lt: utf8('metadata0'), limit: 1 })
    .all()
  if (found === undefined && founding === undefined) return
  throw new KeelsonError(
    'ALREADY_BOOTSTRAPPED',
    'the database holds the metadata of an earlier life of this server, but its log is gone. Restore the log; or join(…) the servers that are left; or give it an empty database if the cluster is to begin from nothing',
  )
}

/**
 * Asks the leader to take this server in, until it votes. The answer may never come: once it votes this server may itself
 * be the leader that the others name.
 */
async function beAdmitted(parts: BeginParts, group: RaftGroup, call: CallOptions): Promise<void> {
  const { options, self, book, rpc, transport } = parts
  const server = { nodeId: self.nodeId, incarnation: self.incarnation, addresses: transport.addresses }
  const request = encodeServerJoin({ server, secret: options.cluster.secret })
  const asking = new AbortController()
  const stop = (): void => asking.abort(call.signal?.reason)
  const release = call.signal === undefined ? () => {} : onAbort(call.signal, stop)
  if (call.signal?.aborted === true) stop()
  const off = group.on('configuration', () => {
    if (votes(group, self)) asking.abort()
  })
  try {
    // One that starts again while it reaches nobody knows of nobody whom it could ask.
    if (book.roster.inTurn(0, self.nodeId).length === 0) {
      const seeds = options.cluster.type === 'bootstrap' ? options.cluster.others : options.cluster.seeds
      await book.meet({ env: options.env, transport, rpc }, seeds, Number.POSITIVE_INFINITY, {
        signal: asking.signal,
      })
    }
    await callLeader(
      { env: options.env, rpc, roster: book.roster, except: self.nodeId },
      'join-server',
      request,
      { signal: asking.signal, idempotent: true },
    )
  } catch (error) {
    if (call.signal?.aborted === true || !votes(group, self)) throw error
  } finally {
    off()
    release()
  }
}

/** The founding that a server gives to a cluster that has none: the life of its disk, which nobody else ever has. */
export function foundingOf(cluster: ClusterStart, self: PeerIdentity): FoundingId {
  return (cluster.type === 'bootstrap' ? cluster.founding : undefined) ?? self.incarnation
}

/** Whether a server votes in the configuration that it knows to be committed. */
export function votes(group: RaftGroup, self: PeerIdentity): boolean {
  const replicas = group.status().configuration?.replicas ?? []
  return replicas.some(
    ({ nodeId, incarnation, role }) =>
      nodeId === self.nodeId && incarnation === self.incarnation && role === 'voter',
  )
}

/** The metadata group, from the directory where there is one, else as the options say. */
export async function beginGroup(
  parts: BeginParts,
  machine: MetadataStateMachine,
  call: CallOptions,
): Promise<RaftGroup> {
  const { options, rafts, self, book } = parts
  const { env } = options
  const ports = { env, transport: parts.transport, rpc: parts.rpc }
  const setup = { stateMachine: machine }
  const { cluster } = options
  const known = rafts.stored().get(metadataGroupId)
  const meet = cluster.type === 'bootstrap' ? cluster.others : cluster.seeds
  if (known !== undefined && !known.destroyed) {
    await book.meet(ports, meet, 1, call)
    const group = await rafts.openGroup(metadataGroupId, setup)
    // It may have stopped in the middle of being taken in.
    if (!votes(group, self)) await beAdmitted(parts, group, call)
    return group
  }
  if (cluster.type === 'bootstrap') {
    await book.askBeforeBootstrap(ports, cluster.others, call)
    const replica = {
      replicaId: 1,
      nodeId: self.nodeId,
      incarnation: self.incarnation,
      role: 'voter',
    } as const
    // A crash right behind this must not leave a cluster that does not know which one it is.
    const refounding =
      cluster.revision === undefined
        ? undefined
        : refoundingAfter(cluster.revision, env.clock.wallMs(), [putFounding(foundingOf(cluster, self))])
    const group = await rafts.bootstrap(metadataGroupId, { ...setup, replicas: [replica], refounding })
    parts.transport.belongTo(foundingOf(cluster, self))
    return group
  }
  await book.meet(ports, meet, Number.POSITIVE_INFINITY, call)
  const group = await rafts.awaitGroup(metadataGroupId, setup)
  await beAdmitted(parts, group, call)
  return group
}
