import { checkArray, checkObject, checkText } from '../core/arguments.ts'
import { utf8 } from '../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import type { KeySelector } from '../interfaces/metadata-store.ts'
import { keyPrefixes, prefixSelector } from '../metadata/index.ts'
import { checkId, checkName, type FoundingId, type Incarnation, type NodeId } from '../model/ids.ts'

/** A control-plane server and where it is found. */
export interface ServerAddress {
  /** Name of the server. */
  readonly nodeId: NodeId
  /** Life of its log store: a higher one after its disk was lost. */
  readonly incarnation: Incarnation
  /** `host:port`, first choice first. */
  readonly addresses: readonly string[]
}

const formatVersion = 1
const maximumServers = 64
const maximumAddresses = 16

/** Key of a server's addresses in the metadata store. */
export function serverKey(nodeId: NodeId): Uint8Array {
  return utf8(`${keyPrefixes.servers}${nodeId}`)
}

/** All servers' addresses. */
export const allServers: KeySelector = Object.freeze(prefixSelector(utf8(keyPrefixes.servers)))

/** A server's addresses for the store and the wire. */
export function encodeServer(server: ServerAddress): Uint8Array {
  return encodePlain([formatVersion, server.nodeId, server.incarnation, [...server.addresses]])
}

/** The inverse of {@link encodeServer}. @throws KeelsonError `MALFORMED`, `INVALID_ARGUMENT` */
export function decodeServer(bytes: Uint8Array): ServerAddress {
  return readServer(new Fields(decodePlain(bytes, 'a server'), 'a server'))
}

/** What a server knows of its cluster. */
export interface KnownCluster {
  /** Empty when it knows of none. */
  readonly servers: readonly ServerAddress[]
  /** Undefined when it does not know it yet. */
  readonly founding: FoundingId | undefined
}

/** A cluster for the wire. */
export function encodeCluster({ servers, founding }: KnownCluster): Uint8Array {
  return encodePlain([
    formatVersion,
    servers.map((server) => [formatVersion, server.nodeId, server.incarnation, [...server.addresses]]),
    founding ?? null,
  ])
}

/** The inverse of {@link encodeCluster}. @throws KeelsonError `MALFORMED`, `INVALID_ARGUMENT` */
export function decodeCluster(bytes: Uint8Array): KnownCluster {
  const fields = new Fields(decodePlain(bytes, 'a list of servers'), 'a list of servers')
  fields.oneOf('version', [formatVersion])
  return {
    servers: fields.list('servers', readServer),
    founding: fields.optional((f) => checkId(f.uint('founding'), 'a founding')),
  }
}

function readServer(fields: Fields): ServerAddress {
  fields.oneOf('version', [formatVersion])
  return checkServer({
    nodeId: fields.string('node id'),
    incarnation: fields.uint('incarnation'),
    addresses: fields.scalars('addresses', (f) => f.string('address')),
  })
}

/** Checks what is said of a server. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkServer(server: ServerAddress): ServerAddress {
  checkObject(server, 'a server')
  checkName(server.nodeId, 'the name of a server')
  checkId(server.incarnation, 'the incarnation of a server')
  for (const address of checkArray(server.addresses, 'the addresses of a server', maximumAddresses))
    checkText(address, 'an address of a server', 300)
  return server
}

/** Where the servers of a cluster are, as far as this process knows: seeds, what servers said, what the store says. */
export class ServerRoster {
  readonly #servers = new Map<NodeId, ServerAddress>()
  /** The server that last answered as leader. */
  leader: NodeId | undefined

  /**
   * Takes in what is known of a server; an older incarnation than the known one is replaced like any other news.
   *
   * @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`
   */
  learn(server: ServerAddress): void {
    checkServer(server)
    if (!this.#servers.has(server.nodeId) && this.#servers.size >= maximumServers) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a cluster has at most ${maximumServers} control-plane servers; remove one first`,
      )
    }
    this.#servers.set(server.nodeId, server)
  }

  /** Forgets servers that are not among `nodeIds`. */
  keepOnly(nodeIds: ReadonlySet<NodeId>): void {
    for (const nodeId of this.#servers.keys()) if (!nodeIds.has(nodeId)) this.#servers.delete(nodeId)
  }

  /** Where a server is found, first choice first; empty for one that nobody has named. */
  addressesOf(nodeId: NodeId): readonly string[] {
    return this.#servers.get(nodeId)?.addresses ?? []
  }

  /** Every server that is known, in no order. */
  all(): readonly ServerAddress[] {
    return [...this.#servers.values()]
  }

  /** Servers in the order in which to ask them: the leader first, then the others from a different one each time. */
  inTurn(attempt: number, except?: NodeId): readonly NodeId[] {
    const ids = [...this.#servers.keys()].filter((nodeId) => nodeId !== except).sort()
    const turned = ids.map((_, i) => ids[(i + attempt) % ids.length] as NodeId)
    if (this.leader === undefined || !ids.includes(this.leader)) return turned
    return [this.leader, ...turned.filter((nodeId) => nodeId !== this.leader)]
  }
}
