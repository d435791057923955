import { checkInteger } from '../core/arguments.ts'
import { abortable, type CallOptions, deadline } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import { checkCall } from '../core/options.ts'
import type { MetadataStore, Revision } from '../interfaces/metadata-store.ts'
import type { NodeId } from '../model/ids.ts'
import { Rpc, rpcDefaults } from '../transport/index.ts'
import { StoreClient } from './client/store-client.ts'
import { encodeCommand } from './mvcc/commands.ts'
import { openOutcome } from './mvcc/wire.ts'
import { methods } from './protocol.ts'
import type { MetadataGroup } from './server/group.ts'
import { type Handler, handlerOf, RequestHandlers } from './server/handlers.ts'
import { checkServerOptions, type MetadataServerOptions } from './server/options.ts'
import { SessionService } from './server/session-service.ts'
import { Upkeep } from './server/upkeep.ts'
import { Verifier } from './server/verifier.ts'
import { WatchStreams } from './server/watch-streams.ts'
import { WatchHub } from './watch/watch-hub.ts'

export type { MetadataGroup } from './server/group.ts'
export {
  type MetadataServerOptions,
  type MetadataServerTuning,
  metadataServerDefaults,
} from './server/options.ts'

/** Events of a {@link MetadataServer}. */
export type MetadataServerEvents = {
  /**
   * A member's state differs from the leader's at the same place of the log: one of the two computed wrongly or has
   * damaged memory. Nothing is repaired by guessing: replace the one that a backup or the majority disproves.
   */
  mismatch: (nodeId: NodeId) => void
}

/** A metadata server as its node sees it. */
export interface MetadataServerStatus {
  /** True while it answers writes and keeps the sessions. */
  readonly leading: boolean
  /** The server that leads, as far as this one knows. */
  readonly leader: NodeId | undefined
  /** The latest revision that this server has applied. */
  readonly revision: Revision
  /** Reads and watches below it fail with `COMPACTED`. */
  readonly compactRevision: Revision
  /** What counts against the quota. */
  readonly bytes: number
  /** Writes that would take `bytes` above it fail with `LIMIT_EXCEEDED`. */
  readonly quotaBytes: number
  /** Sessions that have not ended. */
  readonly sessions: number
  /** Watches that this server serves. */
  readonly watchers: number
  /** Hash of the state: equal on all servers that applied the same. */
  readonly digest: string
}

/**
 * One server of the metadata store: its replica of the group, and what it does for clients. The server that leads
 * answers writes and linearizable reads and keeps the sessions; every server answers local reads and watches, also
 * while there is no leader.
 */
export class MetadataServer implements Listenable<MetadataServerEvents>, AsyncDisposable {
  /**
   * The store as this process uses it: what this server can answer itself needs no network. Closing it leaves the server
   * open.
   */
  readonly store: MetadataStore
  readonly #env: Environment
  readonly #group: MetadataGroup
  readonly #options: Required<MetadataServerOptions>
  readonly #events: Events<MetadataServerEvents>
  readonly #rpc: Rpc
  readonly #hub: WatchHub
  readonly #sessions: SessionService
  readonly #upkeep: Upkeep
  readonly #streams: WatchStreams
  readonly #verifier: Verifier
  readonly #stopListening: () => void
  #closed = false

  private constructor(options: Required<MetadataServerOptions>) {
    const { env, group, machine, channel } = options
    this.#env = env
    this.#group = group
    this.#options = options
    this.#events = new Events(env.logger, ['mismatch'])
    this.#rpc = new Rpc({ env, channel })
    const maximumBodyBytes = Math.min(rpcDefaults.maximumBodyBytes, channel.maximumMessageBytes) - 1024
    this.#hub = new WatchHub({
      env,
      reader: () => machine.reader,
      maximumWatchers: options.maximumWatchers,
      progressIntervalMs: options.progressIntervalMs,
    })
    this.#stopListening = machine.onApplied(() => this.#hub.notify())
    this.#sessions = new SessionService({
      env,
      group,
      machine,
      clockDriftBound: options.clockDriftBound,
      missedAfter: options.missedAfter,
      revocationsPerSecond: options.revocationsPerSecond,
      lateAfterMs: options.sessionTickMs / 2,
      tickIntervalMs: options.sessionTickMs,
    })
    this.#upkeep = new Upkeep({
      env,
      group,
      machine,
      historyRevisions: options.historyRevisions,
      quotaBytes: options.quotaBytes,
    })
    this.#streams = new WatchStreams({
      env,
      group,
      hub: this.#hub,
      staleAfterMs: options.staleAfterMs,
      maximumItemBytes: Math.min(64 * 1024, maximumBodyBytes),
    })
    const handlers = new RequestHandlers({
      env,
      group,
      machine,
      sessions: this.#sessions,
      quotaBytes: options.quotaBytes,
      maximumBodyBytes,
    })
    for (const [method, handler] of handlers.byMethod)
      this.#rpc.handle(method, async (_peer, body, call) => handler(body, call))
    this.#rpc.handleStream(methods.watch, (_peer, body, { signal }) => this.#streams.serve(body, signal))
    this.#verifier = new Verifier({
      env,
      self: channel.self.nodeId,
      group,
      machine,
      intervalMs: options.verifyIntervalMs,
      ask: async (peer, method, body) => this.#rpc.call(peer, method, body),
      onMismatch: (nodeId) => {
        env.logger.error({ nodeId }, "a metadata server's state differs from its leader's")
        this.#events.emit('mismatch', nodeId)
      },
    })
    this.store = this.#embedded(handlers)
  }

  /**
   * Serves a replica. The group stays its owner's, and so do machine and channel.
   *
   * @throws KeelsonError `INVALID_OPTION`
   */
  static async open(options: MetadataServerOptions): Promise<MetadataServer> {
    return new MetadataServer(checkServerOptions(options))
  }

  /** How this server is doing now. Synchronous, from its own replica. */
  status(): MetadataServerStatus {
    const { machine, quotaBytes } = this.#options
    const { revision, compactRevision } = machine.reader
    return {
      leading: this.#group.token() !== undefined,
      leader: this.#group.status().leader?.nodeId,
      revision,
      compactRevision,
      bytes: machine.bytes,
      quotaBytes,
      sessions: machine.sessionCount,
      watchers: this.#hub.size,
      digest: machine.digest(),
    }
  }

  /**
   * Has all members compare their states now. Does nothing on a server that does not lead.
   *
   * @returns the members whose state differs
   */
  async verify(): Promise<readonly NodeId[]> {
    return this.#verifier.verify()
  }

  /**
   * Makes `revision` the present one of an empty store, on the server that leads, before a backup is put into it: what
   * was counted in revisions by the cluster that was lost must not be counted again. Lower revisions are ignored.
   *
   * @throws KeelsonError `CONFLICT` when the store has keys or sessions, `NOT_LEADER`, `OUTCOME_UNKNOWN`: do it again
   */
  async advance(revision: Revision, options: CallOptions = {}): Promise<void> {
    checkCall('advance', options)
    checkInteger(revision, 'the revision that a store is advanced to')
    openOutcome(await this.#group.propose(encodeCommand({ type: 'advance', revision }), options))
  }

  on<K extends keyof MetadataServerEvents>(event: K, listener: MetadataServerEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /** Ends what it does for clients; the group goes on. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#verifier.close()
    this.#upkeep.close()
    this.#sessions.close()
    this.#stopListening()
    this.#streams.close()
    await this.store.close()
    this.#hub.close(new KeelsonError('CLOSED', 'this metadata server was closed; ask another one'))
    await this.#rpc.close()
    this.#events.removeAll()
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #embedded(handlers: RequestHandlers): MetadataStore {
    const self = this.#options.channel.self.nodeId
    return new StoreClient({
      env: this.#env,
      tuning: this.#options,
      servers: () => this.#servers(self),
      sticky: self,
      ask: async (peer, method, body, options) => {
        if (peer !== self) return this.#rpc.call(peer, method, body, options)
        return this.#askSelf(handlerOf(handlers, method), body, options)
      },
      stream: (peer, method, body, options) => this.#rpc.stream(peer, method, body, options),
      local: {
        read: (read) => handlers.readLocal(read),
        watch: (select, options) => this.#hub.watch(select, options),
      },
    })
  }

  /** As over the network, with its deadline, but without it. */
  async #askSelf(
    handler: Handler,
    body: Uint8Array,
    options: CallOptions & { readonly timeoutMs: number },
  ): Promise<Uint8Array> {
    const { timeoutMs } = options
    const late = (): KeelsonError =>
      new KeelsonError(
        'OUTCOME_UNKNOWN',
        `no answer within ${timeoutMs} ms; read what became of it before it is done again`,
      )
    const limit = deadline(this.#env.timers, timeoutMs, late, options.signal)
    try {
      return await abortable(handler(body, { signal: limit.signal }), limit.signal, 'unknown')
    } finally {
      limit.release()
    }
  }

  /** This server first, then the other members. */
  #servers(self: NodeId): readonly NodeId[] {
    const status = this.#group.status()
    const members = (status.latestConfiguration ?? status.configuration)?.replicas ?? []
    return [self, ...members.map((replica) => replica.nodeId).filter((nodeId) => nodeId !== self)]
  }
}
