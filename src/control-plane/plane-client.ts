import { type CallOptions, Cleanup } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import {
  arrayOption,
  checkCall,
  checkOptions,
  functionOption,
  objectOption,
  optional,
} from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { Channel, PeerIdentity, Transport, TransportFactory } from '../interfaces/transport.ts'
import { DirectoryCache, MetadataClient, RangeDirectory } from '../metadata/index.ts'
import { type ClusterId, nameOption } from '../model/ids.ts'
import { addressOption } from '../transport/addresses.ts'
import { Rpc } from '../transport/rpc.ts'
import { AddressBook } from './address-book.ts'
import { Admin } from './admin.ts'
import { learnFounding } from './founding.ts'

/** Options of {@link PlaneClient.connect}. */
export interface PlaneClientOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The cluster to talk to. Servers of another one are refused with `FOREIGN_CLUSTER`. */
  readonly clusterId: ClusterId
  /** Addresses of control-plane servers. */
  readonly seeds: readonly string[]
  /** Connects the client to servers and nodes: `webSocket(…)`, or a memory network's. */
  readonly transport: TransportFactory
  /** Name under which this client appears. Default: drawn at random. */
  readonly name?: string
}

/**
 * A program beside the cluster: an operator's tool, or a client of the database that is built on it. It reaches the
 * metadata, knows which ranges there are and where every node is, and goes on knowing it while the control plane is away.
 */
export class PlaneClient implements AsyncDisposable {
  /** The cluster's metadata, over the network. */
  readonly store: MetadataStore
  /** Everything that an operator does. */
  readonly admin: Admin
  /** The ranges, for routing. */
  readonly directory: DirectoryCache
  /** The connections of this client. Programs may open channels of their own on it. */
  readonly transport: Transport
  readonly #cleanup: Cleanup

  /** Resolves when a server has answered. @throws KeelsonError `INVALID_OPTION`, `FOREIGN_CLUSTER`, `UNAUTHORIZED`, `ABORTED` */
  static async connect(options: PlaneClientOptions, call: CallOptions = {}): Promise<PlaneClient> {
    const {
      env,
      clusterId,
      name,
      seeds,
      transport: open,
    } = checkOptions<Required<Omit<PlaneClientOptions, 'name'>> & { readonly name: string | undefined }>(
      'PlaneClient.connect',
      options,
      {
        env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
        clusterId: nameOption,
        seeds: arrayOption(addressOption, { min: 1, max: 64 }),
        transport: functionOption<TransportFactory>(),
        name: optional(nameOption),
      },
    )
    checkCall('PlaneClient.connect', call)
    const cleanup = new Cleanup()
    try {
      const book = new AddressBook()
      const incarnation = 1 + env.random.integer(Number.MAX_SAFE_INTEGER - 1)
      const nodeId = name ?? `client-${incarnation.toString(36)}`
      const self: PeerIdentity = { nodeId, incarnation, role: 'client' }
      const transport = cleanup.use(await open({ env, clusterId, self, resolve: book.resolve }))
      const rpc = cleanup.use(new Rpc({ env, channel: transport.channel('control', { traffic: 'control' }) }))
      await book.meet({ env, transport, rpc }, seeds, Number.POSITIVE_INFINITY, call)
      const store = cleanup.use(
        new MetadataClient({
          env,
          channel: transport.channel('metadata', { traffic: 'control' }),
          servers: () => book.roster.all().map((server) => server.nodeId),
        }),
      )
      return new PlaneClient(env, transport, rpc, store, book, cleanup)
    } catch (error) {
      await cleanup.run()
      throw error
    }
  }

  private constructor(
    env: Environment,
    transport: Transport,
    rpc: Rpc,
    store: MetadataStore,
    book: AddressBook,
    cleanup: Cleanup,
  ) {
    this.store = store
    this.transport = transport
    const stop = new AbortController()
    this.admin = new Admin({ env, store }, { rpc, roster: book.roster, closed: stop.signal })
    this.#cleanup = cleanup
    const follow = async (act: () => Promise<void>): Promise<void> => {
      try {
        await act()
      } catch (error) {
        if (!stop.signal.aborted) env.logger.error({ error }, 'addresses are not followed any more')
      }
    }
    const following = Promise.all([
      follow(() => book.followServers(store, stop.signal)),
      follow(() => book.followNodes(store, stop.signal)),
      follow(async () => {
        await learnFounding({ store, transport, logger: env.logger }, stop.signal)
      }),
    ])
    cleanup.add(async () => {
      stop.abort(new KeelsonError('CLOSED', 'the client was closed; connect again'))
      await following
    })
    this.directory = cleanup.use(new DirectoryCache({ env, directory: new RangeDirectory(store) }))
  }

  /** A channel for the host's own protocols. */
  channel(protocol: string, options?: Parameters<Transport['channel']>[1]): Channel {
    return this.transport.channel(protocol, options)
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#cleanup.run()
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
