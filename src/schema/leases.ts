import { type CallOptions, sleep, throwIfAborted } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import { checkCall, checkOptions, functionOption, objectOption } from '../core/options.ts'
import type { KeyValue, MetadataStore, SessionId } from '../interfaces/metadata-store.ts'
import type { TableDescriptor } from '../interfaces/schema-host.ts'
import { follow } from '../jobs/index.ts'
import { checkId, type NodeId, nameOption, type TableId } from '../model/ids.ts'
import { allTables, decodeTable, encodeUse, schemaLeaseKey, tableKey } from './core/records.ts'
import { areAdjacent } from './core/transitions.ts'

/** A session that its holder keeps alive. */
export interface HeldSession extends AsyncDisposable {
  /** Its number: the epoch of everything that is held under it. */
  readonly sessionId: SessionId
  /** True until the holder's own deadline, which comes before the store's. */
  isLive(): boolean
}

/** Options of {@link SchemaLeases.open}. */
export interface SchemaLeasesOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where tables and leases are kept. */
  readonly store: MetadataStore
  /** The node whose work uses the versions. */
  readonly nodeId: NodeId
  /**
   * Opens a session for schema leases alone. Its TTL is long (5 minutes), so that a short outage of the control plane
   * stops no table.
   */
  readonly openSession: (options: CallOptions) => Promise<HeldSession>
}

/** Events of {@link SchemaLeases}. */
export interface SchemaLeasesEvents extends Record<string, (...args: never[]) => void> {
  /** From now on new work is planned under this version. */
  adopted: (table: TableDescriptor) => void
}

/** A version in use: the work that was planned under it ends before `release`. */
export interface SchemaPin extends Disposable {
  /** The version that is in use. */
  readonly table: TableDescriptor
  /** Idempotent. */
  release(): void
}

interface Use {
  current: TableDescriptor
  /** Pins by version; versions without one are absent. */
  readonly pins: Map<number, number>
  /** Oldest version that the store knows this node to use; 0 before the first. */
  leased: number
}

const retryMs = 200

/**
 * The schema versions that a node uses. New work takes the newest version as soon as it is known; the lease in the store
 * names the oldest one that work is still under way for, and the coordinator publishes a version only when nobody is
 * further behind than the one before.
 *
 * Invariant: a version is handed out only while the lease covers it, so that at any time all nodes together use two
 * adjacent versions at most.
 */
export class SchemaLeases implements AsyncDisposable, Listenable<SchemaLeasesEvents> {
  readonly #options: SchemaLeasesOptions
  readonly #events: Events<SchemaLeasesEvents>
  readonly #tables = new Map<TableId, Use>()
  readonly #stop = new AbortController()
  #session: HeldSession | undefined
  #publishing: Promise<void> | undefined
  #again = false
  /** What is in use could not be written for want of a live session. */
  #owed = false
  #work: Promise<unknown> = Promise.resolve()

  private constructor(options: SchemaLeasesOptions) {
    this.#options = options
    this.#events = new Events(options.env.logger, ['adopted'])
  }

  /** Reads all tables, takes leases on them and follows them. @throws KeelsonError `INVALID_OPTION`, `TIMEOUT`, `ABORTED` */
  static async open(options: SchemaLeasesOptions, call: CallOptions = {}): Promise<SchemaLeases> {
    const checked = checkOptions<SchemaLeasesOptions>('SchemaLeases.open', options, {
      env: objectOption<Environment>(['clock', 'timers', 'logger']),
      store: objectOption<MetadataStore>(['get', 'range', 'txn', 'watch']),
      nodeId: nameOption,
      openSession: functionOption<SchemaLeasesOptions['openSession']>(),
    })
    checkCall('SchemaLeases.open', call)
    const leases = new SchemaLeases(checked)
    const session = await checked.openSession(call)
    leases.#session = session
    try {
      const { entries } = await checked.store.range(allTables, call)
      for (const entry of entries) leases.#take(entry)
      await leases.#publish(call)
    } catch (error) {
      leases.#stop.abort(error)
      await session[Symbol.asyncDispose]()
      throw error
    }
    leases.#work = Promise.all([leases.#follow(), leases.#keepSession()])
    return leases
  }

  on<K extends keyof SchemaLeasesEvents & string>(event: K, listener: SchemaLeasesEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /** The version that new work would be planned under; undefined for an unknown table. Holds nothing. */
  current(tableId: TableId): TableDescriptor | undefined {
    return this.#tables.get(tableId)?.current
  }

  /** A table by its name. */
  byName(name: string): TableDescriptor | undefined {
    for (const { current } of this.#tables.values()) if (current.name === name) return current
    return undefined
  }

  /**
   * Holds a table's newest version for a piece of work. Synchronous, no I/O.
   *
   * @throws KeelsonError `NOT_FOUND`, `STALE_SCHEMA` while this node holds no schema lease: the control plane has been
   *   away for longer than the lease, and the schema may have changed meanwhile
   */
  pin(tableId: TableId): SchemaPin {
    checkId(tableId, 'a table id')
    const use = this.#tables.get(tableId)
    if (use === undefined) {
      throw new KeelsonError(
        'NOT_FOUND',
        `this node knows no table ${tableId}; try again, or look for its id in the catalog`,
        { retryable: true },
      )
    }
    if (use.leased === 0 || this.#session?.isLive() !== true) {
      throw new KeelsonError(
        'STALE_SCHEMA',
        `this node holds no schema lease for table ${use.current.name}; try again`,
      )
    }
    const table = use.current
    use.pins.set(table.version, (use.pins.get(table.version) ?? 0) + 1)
    let held = true
    const release = (): void => {
      if (!held) return
      held = false
      const left = (use.pins.get(table.version) ?? 1) - 1
      if (left > 0) {
        use.pins.set(table.version, left)
        return
      }
      use.pins.delete(table.version)
      if (table.version < use.current.version) void this.#publish({ signal: this.#stop.signal })
    }
    return { table, release, [Symbol.dispose]: release }
  }

  /** Gives the leases back. Idempotent. */
  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return
    this.#stop.abort(new KeelsonError('CLOSED', 'the schema leases were closed'))
    await this.#work
    await this.#publishing
    await this.#session?.[Symbol.asyncDispose]()
    this.#events.removeAll()
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #follow(): Promise<void> {
    const { store, env } = this.#options
    const signal = this.#stop.signal
    for await (const step of follow(store, env, allTables, { signal })) {
      const entries = step.type === 'snapshot' ? step.entries : step.events.map(({ entry }) => entry)
      let changed = false
      for (const entry of entries) changed = this.#take(entry) || changed
      if (changed) void this.#publish({ signal })
    }
  }

  /** Opens a new session when the old one was lost: the leases are taken anew, under whatever is newest then. */
  async #keepSession(): Promise<void> {
    const { env } = this.#options
    const signal = this.#stop.signal
    while (!signal.aborted) {
      await sleep(env.timers, retryMs, signal).catch(() => {})
      if (signal.aborted) return
      if (this.#session?.isLive() === true) {
        if (this.#owed) void this.#publish({ signal })
        continue
      }
      try {
        await this.#giveUpSession()
        this.#session = await this.#options.openSession({ signal })
        await this.#publish({ signal })
      } catch (error) {
        env.logger.warn({ error }, 'no session for schema leases yet')
      }
    }
  }

  /** From here on nothing is leased: a write under the old session that is still under way counts for nothing. */
  async #giveUpSession(): Promise<void> {
    const session = this.#session
    this.#session = undefined
    for (const use of this.#tables.values()) use.leased = 0
    await session?.[Symbol.asyncDispose]()
  }

  #take(entry: KeyValue): boolean {
    if (entry.value.length === 0) return false
    let table: TableDescriptor
    try {
      table = decodeTable(entry.value)
    } catch (error) {
      // Of a newer release, or written by no release at all: work on other tables goes on.
      this.#options.env.logger.error({ error }, 'a table cannot be read and is not used')
      return false
    }
    const known = this.#tables.get(table.tableId)
    if (known !== undefined && known.current.version >= table.version) return false
    if (known === undefined) {
      this.#tables.set(table.tableId, { current: table, pins: new Map(), leased: 0 })
    } else {
      // After a gap the versions between were missed, which can only be while no lease was held.
      if (!areAdjacent(known.current, table)) known.leased = 0
      known.current = table
    }
    this.#events.emit('adopted', table)
    return true
  }

  /** Writes what is in use, one write at a time; what changes meanwhile is written after it. */
  async #publish(call: CallOptions): Promise<void> {
    if (this.#publishing !== undefined) {
      this.#again = true
      return
    }
    const run = async (): Promise<void> => {
      do {
        this.#again = false
        await this.#publishOnce(call)
      } while (this.#again && !this.#stop.signal.aborted)
    }
    this.#publishing = run()
    try {
      await this.#publishing
    } catch (error) {
      if (this.#stop.signal.aborted) return
      // Nobody waits for `open` any more: trying again would never end.
      throwIfAborted(call.signal)
      this.#options.env.logger.warn({ error }, 'the schema lease could not be written and is tried again')
      this.#again = true
    } finally {
      this.#publishing = undefined
    }
    if (!this.#again || this.#stop.signal.aborted) return
    await sleep(this.#options.env.timers, retryMs, this.#stop.signal).catch(() => {})
    return this.#publish(call)
  }

  async #publishOnce(call: CallOptions): Promise<void> {
    const session = this.#session
    if (this.#stop.signal.aborted) return
    // The session may be live again a moment later, without another one being opened.
    this.#owed = session?.isLive() !== true
    if (session === undefined || this.#owed) return
    const use = new Map<TableId, number>()
    for (const [tableId, { current, pins }] of this.#tables) {
      use.set(tableId, Math.min(current.version, ...pins.keys()))
    }
    const fresh = [...this.#tables].filter(([, { leased }]) => leased === 0)
    const { store, nodeId } = this.#options
    // A first lease on a table must not slip in behind the coordinator's back: it counts only if the table has not moved
    // on since it was read.
    const compares = await Promise.all(
      fresh.map(async ([tableId]) => {
        const entry = await store.get(tableKey(tableId), call)
        if (entry !== undefined) this.#take(entry)
        return {
          key: tableKey(tableId),
          target: 'modRevision' as const,
          is: '=' as const,
          operand: entry?.modRevision ?? 0,
        }
      }),
    )
    for (const [tableId, { current, pins, leased }] of this.#tables) {
      if (leased === 0) use.set(tableId, Math.min(current.version, ...pins.keys()))
    }
    let succeeded: boolean
    try {
      const put = { type: 'put', key: schemaLeaseKey(nodeId), value: encodeUse(use) } as const
      const lease = { ...put, session: session.sessionId }
      succeeded = (await store.txn({ if: compares, then: [lease] }, call)).succeeded
    } catch (error) {
      // The coordinator did not wait for this node: nothing new is planned until there is a lease again.
      if (KeelsonError.hasCode(error, 'EPOCH_ENDED') && session === this.#session) await this.#giveUpSession()
      throw error
    }
    if (!succeeded) {
      this.#again = true
      return
    }
    // While the answer was on its way the session may have been given up, and what was written went with it.
    if (session !== this.#session) return
    for (const [tableId, version] of use) {
      const known = this.#tables.get(tableId)
      if (known !== undefined) known.leased = version
    }
  }
}
