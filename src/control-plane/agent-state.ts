import { hex, utf8 } from '../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import type { ClusterId, FoundingId, NodeId } from '../model/ids.ts'
import type { ByteLevel } from '../storage/level/database.ts'
import { LevelState } from '../storage/level/level-state.ts'
import type { KnownNode } from './address-book.ts'
import { decodeFounding, encodeFounding } from './founding.ts'
import { decodeServer, encodeServer, type ServerAddress } from './server-roster.ts'

const formatVersion = 1
const identityKey = utf8('identity')
const foundingKey = utf8('founding')

/**
 * What an agent keeps on its own disk: the secret of its life in the cluster, and where everybody was found last, so that
 * a node that starts while the control plane is away still finds the others and serves.
 */
export class AgentState {
  readonly #state: LevelState
  readonly credential: string
  /** The founding of the cluster that took the node in; undefined before. */
  readonly founding: FoundingId | undefined
  readonly servers: readonly ServerAddress[]
  readonly nodes: readonly KnownNode[]

  private constructor(
    state: LevelState,
    credential: string,
    founding: FoundingId | undefined,
    servers: readonly ServerAddress[],
    nodes: readonly KnownNode[],
  ) {
    this.#state = state
    this.credential = credential
    this.founding = founding
    this.servers = servers
    this.nodes = nodes
  }

  /** @throws KeelsonError `FOREIGN_CLUSTER`, `FOREIGN_NODE` for the database of another node, `FORMAT_VERSION` */
  static async open(
    database: ByteLevel,
    clusterId: ClusterId,
    nodeId: NodeId,
    secretBytes: (length: number) => Uint8Array,
  ): Promise<AgentState> {
    const state = new LevelState(database, utf8('agent/'))
    await state.open()
    const stored = await state.get(identityKey)
    let credential = hex(secretBytes(32))
    if (stored === undefined) {
      const batch = state.batch()
      batch.put(identityKey, encodePlain([formatVersion, clusterId, nodeId, credential]))
      await state.commit(batch, [])
      // Durable before it is shown to anybody: a join that is repeated after a crash must show the same secret.
      await state.flush()
    } else {
      const fields = new Fields(decodePlain(stored, 'the identity of an agent'), 'the identity of an agent')
      const version = fields.uint('version')
      if (version !== formatVersion) {
        throw new KeelsonError(
          'FORMAT_VERSION',
          `the identity of this agent has format ${version}, but this release knows ${formatVersion}; open it with the release that wrote it`,
        )
      }
      const owner = { clusterId: fields.string('cluster id'), nodeId: fields.string('node id') }
      if (owner.clusterId !== clusterId) {
        throw new KeelsonError(
          'FOREIGN_CLUSTER',
          `this database belongs to cluster ${owner.clusterId}, not to ${clusterId}; give the agent a directory of its own`,
        )
      }
      if (owner.nodeId !== nodeId) {
        throw new KeelsonError(
          'FOREIGN_NODE',
          `this database belongs to node ${owner.nodeId}, not to ${nodeId}; give the agent a directory of its own`,
        )
      }
      credential = fields.string('credential')
    }
    const servers: ServerAddress[] = []
    const nodes: KnownNode[] = []
    // Hints: what cannot be read is learned again.
    for await (const [, value] of state.range(below('server/'))) take(servers, () => decodeServer(value))
    for await (const [, value] of state.range(below('node/'))) take(nodes, () => decodeNode(value))
    const founding = await state.get(foundingKey)
    return new AgentState(
      state,
      credential,
      founding === undefined ? undefined : decodeFounding(founding),
      servers,
      nodes,
    )
  }

  /** Remembers durably which cluster took the node in: from now on no other one of the same id is listened to. */
  async belongTo(founding: FoundingId): Promise<void> {
    const batch = this.#state.batch()
    batch.put(foundingKey, encodeFounding(founding))
    await this.#state.commit(batch, [])
    await this.#state.flush()
  }

  /** Remembers where the servers and nodes are. Not synced: it is a hint. */
  async remember(servers: readonly ServerAddress[], nodes: readonly KnownNode[]): Promise<void> {
    const batch = this.#state.batch()
    for (const server of servers) batch.put(utf8(`server/${server.nodeId}`), encodeServer(server))
    for (const node of nodes) {
      batch.put(utf8(`node/${node.nodeId}`), encodePlain([formatVersion, node.nodeId, [...node.addresses]]))
    }
    await this.#state.commit(batch, [])
  }
}

function take<T>(into: T[], read: () => T): void {
  try {
    into.push(read())
  } catch {
    // Of another release.
  }
}

function below(prefix: string): { start: Uint8Array; end: Uint8Array } {
  return { start: utf8(prefix), end: utf8(`${prefix.slice(0, -1)}0`) }
}

function decodeNode(bytes: Uint8Array): KnownNode {
  const fields = new Fields(decodePlain(bytes, 'a known node'), 'a known node')
  fields.oneOf('version', [formatVersion])
  return {
    nodeId: fields.string('node id'),
    addresses: fields.scalars('addresses', (f) => f.string('address')),
  }
}
