import {
  bootstrap,
  ControlPlane,
  inspectServer,
  join,
  NodeAgent,
  PlaneClient,
  recoverServer,
  type StoppedServerOptions,
} from '../../../src/control-plane/index.ts'
import { sleep } from '../../../src/core/async.ts'
import type { Timers } from '../../../src/core/clock.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, type Random } from '../../../src/core/random.ts'
import type { SchemaChunk, SchemaHost } from '../../../src/interfaces/schema-host.ts'
import { parseLocality } from '../../../src/model/locality.ts'
import { encodeTuple } from '../../../src/model/tuple.ts'
import { Nodes } from '../../../src/nodes/index.ts'
import { type GroupRecovery, recoveriesOf } from '../../../src/raft/index.ts'
import {
  NetworkConditions,
  type SimulatedProcess,
  SimulatedTransports,
  Simulation,
} from '../../../src/simulation/index.ts'
import { MemoryDisk, MemoryLevel, memoryLog } from '../../../src/storage/memory/index.ts'
import { CounterClients } from './counter-clients.ts'
import { type DataPlaneBugs, MemoryDataPlane } from './data-plane.ts'
import { Judge } from './judge.ts'
import { MemoryRangeHost } from './memory-range-host.ts'
import { Operators } from './operators.ts'
import { holds, moved, rowKey, rowsOfRange } from './range-bounds.ts'
import type { RangeRows, RowCommand } from './range-rows.ts'

const clusterId = 'simulated'
const secret = 'a secret of the simulated cluster'
const lookEveryMs = 50
const lateByMs = [1_000, 12_000] as const

/** Short times, so that a run of some seconds sees everything expire. */
export const worldTimes: {
  readonly sessionTtlMs: number
  readonly schemaLeaseMs: number
  readonly dampingMs: number
} = Object.freeze({ sessionTtlMs: 3_000, schemaLeaseMs: 5_000, dampingMs: 10_000 })

/** How large a world is. */
export interface WorldSize {
  readonly servers: number
  readonly agents: number
  readonly ranges: number
}

/** What a run is to be rich in, that others see now and then. */
export interface Corner {
  /** Rows weigh little or much, never anything in between, and not for long: ranges split and merge all the time. */
  readonly restless?: boolean
  /** A merge may take longer than a range stays frozen. */
  readonly slowMerges?: boolean
  /** Every other answer to a command is lost, so that it is sent again. */
  readonly lostAnswers?: boolean
  /** A third of what nodes send to the ranges arrives seconds later, when nobody waits for it any more. */
  readonly lateCommands?: boolean
  /** Now and then all servers but one are lost for good, and the one that is left had fallen behind. */
  readonly losesQuorum?: boolean
}

/** A machine of the world, with the program that runs on it. */
export interface Machine {
  readonly name: string
  readonly process: SimulatedProcess
  /** Mean time of a sync of its disk. */
  syncMs: number
  /** Starts the program of this machine's present life. */
  start(): void
  /** Starts a crashed machine and its program. */
  startAgain(): void
  /** Its disk is replaced by an empty one. */
  wipe(): void
  /** What opens its disk while it does not run. */
  stopped(): Promise<StoppedServerOptions & { close(): Promise<void> }>
}

/** Servers, agents, a data plane, and somebody who watches: the whole composition in virtual time. */
export class World {
  readonly sim: Simulation
  readonly conditions: NetworkConditions
  readonly transports: SimulatedTransports
  readonly plane: MemoryDataPlane
  readonly judge: Judge
  readonly servers: Machine[] = []
  readonly agents: Machine[] = []
  /** Servers that take part at the moment, by name. */
  readonly planes = new Map<string, ControlPlane>()
  readonly nodes = new Map<string, NodeAgent>()
  /** Agents that have planned a command and not carried it out, by name. */
  readonly planning = new Set<string>()
  readonly size: WorldSize
  readonly corner: Corner
  readonly operators: Operators
  readonly clients: CounterClients
  client!: PlaneClient
  /** Epochs that nodes held when they crashed. */
  readonly #crashedEpochs = new Set<number>()
  readonly #wiped = new Set<string>()
  /** Which part of the commands comes late. */
  readonly #lateCommands: number
  #recovering = false
  #tableId = 0
  /** Programs that ended by themselves and were started again. */
  restarts = 0
  /** What was committed and is gone since a quorum was lost. */
  lostEntries = 0

  constructor(seed: number, size: WorldSize, bugs: DataPlaneBugs = {}, corner: Corner = {}) {
    this.size = size
    this.corner = corner
    this.sim = new Simulation({ seed, traceLimit: 4_000 })
    this.conditions = new NetworkConditions(this.sim.random('network'), this.sim.faults, {
      meanExtraDelayMs: 1,
    })
    this.transports = new SimulatedTransports(
      this.sim.scheduler,
      this.conditions,
      this.sim.random('transport'),
    )
    const late = this.sim.random('late commands')
    this.#lateCommands = corner.lateCommands === true ? 0.3 : chance(late, 0.5) ? between(late, 0, 0.2) : 0
    const broken = (error: unknown): void => {
      this.judge.broken ??= error
    }
    const rows = size.ranges * rowsOfRange
    this.plane = new MemoryDataPlane(this.sim, this.conditions, broken, bugs, rows, corner.slowMerges)
    this.judge = new Judge(this.plane, () => this.sim.nowMs, worldTimes)
    this.operators = new Operators(this)
    this.clients = new CounterClients(this)
  }

  /** The first invariant that did not hold. */
  get broken(): unknown {
    return this.judge.broken
  }

  /** Starts everything and makes a table. Call it inside the run. */
  async build(): Promise<void> {
    const env = this.sim.environment('observer')
    for (let i = 1; i <= this.size.servers; i++) this.#addServer(`cp${i}`)
    const transport = this.transports.factory(this.sim.process('observer'))
    const seeds = this.#seeds()
    this.client = await PlaneClient.connect({ env, clusterId, seeds, transport, name: 'observer' })
    this.#watch()
    const random = this.sim.random('tokens')
    const tokens = new Nodes({
      env,
      store: this.client.store,
      replicasOf: async () => 0,
      secretBytes: (length) => random.bytes(length),
    })
    for (let i = 1; i <= this.size.agents; i++) {
      this.#addAgent(`db${i}`, `zone=z${i % 3}`, await tokens.createToken({ reason: 'simulation' }))
    }
    await this.until('all servers vote', 60_000, () => this.allServersVote())
    await this.until(
      'all nodes are there',
      60_000,
      async () => (await this.client.admin.nodes.list()).length === this.size.agents,
    )
    const table = await this.client.admin.createTable(
      {
        name: 'rows',
        columns: [
          { name: 'id', valueType: 'number', required: true },
          { name: 'size', valueType: 'number', required: false },
        ],
        primaryKey: ['id'],
      },
      {
        replicas: 3,
        splitKeys: ({ tableId }) =>
          Array.from({ length: this.size.ranges - 1 }, (_, i) => encodeTuple([tableId, i + 1])),
      },
    )
    this.#tableId = table.tableId
    this.plane.tableId = table.tableId
  }

  /** Whether a server may lose its disk: all of them take part, so that the others hold what it held. */
  mayWipe(): boolean {
    return this.#wiped.size === 0 && this.planes.size === this.size.servers && this.allServersVote()
  }

  /**
   * All servers stop, all but one lose their disks, and that one is recovered. What it lacks is lost: epochs and sessions
   * included, which must not come a second time.
   */
  async loseQuorum(survivor: Machine): Promise<void> {
    // Another fault was quicker.
    if (this.#recovering || this.#wiped.size > 0) return
    const others = this.servers.filter((machine) => machine !== survivor)
    const committed = Math.max(
      0,
      ...Array.from(this.planes.values(), (plane) => plane.status().group.commitIndex),
    )
    for (const { process } of this.servers) if (process.state !== 'crashed') process.crash('power')
    for (const machine of others) machine.wipe()
    this.#recovering = true
    const { lastIndex, recoveryGeneration } = await this.#recover(survivor)
    this.lostEntries += Math.max(0, committed - lastIndex)
    // Each recovery has a block of revisions of its own.
    const firstRevision = recoveriesOf(recoveryGeneration) * 2 ** 44
    this.judge.lost(firstRevision)
    // Holders of sessions that are lost hear nothing of it: they stop at their deadlines.
    this.sim.scheduler.schedule(worldTimes.sessionTtlMs * 1.05, () => {
      this.judge.endedBelow = firstRevision
    })
    this.#recovering = false
    for (const machine of this.servers) machine.startAgain()
  }

  async #recover(survivor: Machine): Promise<GroupRecovery> {
    const { database, close, ...stopped } = await survivor.stopped()
    try {
      const report = await inspectServer({ ...stopped, database })
      const acknowledged = { acceptDataLoss: true, confirm: 'recover group 1' }
      return await recoverServer({ ...stopped, database, survivors: [report], ...acknowledged })
    } finally {
      await close()
    }
  }

  /** The server that leads, by its own words. */
  leader(): ControlPlane | undefined {
    return [...this.planes.values()].find(
      (plane) => plane.duties !== undefined && this.plane.isUp(plane.nodeId),
    )
  }

  allServersVote(): boolean {
    const replicas = this.leader()?.status().group.configuration?.replicas ?? []
    return replicas.length === this.size.servers && replicas.every(({ role }) => role === 'voter')
  }

  /** Waits in virtual time. @throws KeelsonError `TIMEOUT` */
  async until(what: string, limitMs: number, ask: () => Promise<boolean> | boolean): Promise<void> {
    const env = this.sim.environment('observer')
    const startMs = this.sim.nowMs
    const attempt = async (): Promise<boolean> => {
      try {
        return await ask()
      } catch (error) {
        if (KeelsonError.is(error) && error.retryable) return false
        throw error
      }
    }
    while (!(await attempt())) {
      if (this.sim.nowMs - startMs > limitMs) {
        throw new KeelsonError('TIMEOUT', `after ${limitMs} ms it is still not true that ${what}`)
      }
      await sleep(env.timers, 100)
    }
  }

  /** Resolves when everything is well: somebody leads, all nodes are live, all ranges whole, all work done. */
  async recovered(work: Promise<void>): Promise<void> {
    const limitMs = 90_000
    await this.until('the control plane takes writes', limitMs, async () => {
      await this.client.store.txn({
        then: [{ type: 'put', key: Uint8Array.of(0x7e), value: new Uint8Array(1) }],
      })
      return true
    })
    await this.until('all servers vote', limitMs, () => this.allServersVote())
    await this.until('all nodes are live', limitMs, () => {
      const nodes = this.leader()?.duties?.nodes.nodes() ?? []
      return nodes.length === this.size.agents && nodes.every(({ liveness }) => liveness === 'live')
    })
    await this.until('every crash was seen', limitMs, () =>
      [...this.#crashedEpochs].every((epoch) => this.judge.hasEnded(epoch)),
    )
    await work
    await this.clients.finish()
    await this.until('all ranges are whole and served, and the drained node is empty', limitMs, () =>
      this.isWhole(['db1']),
    )
    await this.until('the directory has caught up', limitMs, async () => {
      const ranges = await this.client.admin.ranges()
      return (
        ranges.length === this.plane.ranges.size &&
        ranges.every(({ rangeId, generation }) => generation === this.plane.ranges.get(rangeId)?.generation)
      )
    })
    await this.#checkRows()
  }

  /** Every range has three voters on nodes that run, none of them on `without`, and somebody serves it. */
  isWhole(without: readonly string[] = []): boolean {
    return [...this.plane.ranges.values()].every(
      (range) =>
        this.plane.isServed(range) &&
        range.replicas.length === 3 &&
        range.replicas.every(
          ({ role, nodeId }) => role === 'voter' && this.plane.isUp(nodeId) && !without.includes(nodeId),
        ),
    )
  }

  /** No index lacks an entry or has one too many, and none that is gone left anything. */
  async #checkRows(): Promise<void> {
    const stored = await this.client.admin.catalog.byName('rows')
    const indexes = stored?.table.elements.filter(({ type }) => type === 'index') ?? []
    for (const range of this.plane.ranges.values()) {
      const { rangeId, rows } = range
      for (const rowId of [...rows.rows, ...range.counters.counters.keys()]) {
        if (!holds(range, rowKey(this.#tableId, rowId)))
          this.judge.violated(`row ${rowId} is in range ${rangeId}, which does not lie there`)
      }
      for (const elementId of rows.entries.keys()) {
        if (!indexes.some((index) => index.elementId === elementId))
          this.judge.violated(`range ${rangeId} has entries of element ${elementId}, which is gone`)
      }
      for (const { elementId, name, state } of indexes) {
        const { missing, orphans } = rows.compare(elementId)
        if (state !== 'public') this.judge.violated(`index ${name} is ${state} though nothing changes it`)
        if (missing > 0 || orphans > 0)
          this.judge.violated(`index ${name} in range ${rangeId}: ${missing} missing, ${orphans} orphans`)
      }
    }
  }

  #seeds(): string[] {
    return this.servers.map(({ name }) => `${name}:1`)
  }

  #addServer(name: string): void {
    const others = Array.from({ length: this.size.servers }, (_, i) => `cp${i + 1}:1`).filter(
      (seed) => seed !== `${name}:1`,
    )
    let first = name === 'cp1'
    const machine = this.#addMachine(name, async (env, process, disk) => {
      const cluster = first ? bootstrap({ others, secret }) : join({ seeds: others, secret })
      const { life } = process
      const plane = await ControlPlane.open({
        env,
        clusterId,
        nodeId: name,
        cluster,
        transport: this.transports.factory(process, { port: 1 }),
        log: memoryLog({ disk }),
        database: await openDatabase(disk, 'metadata', this.sim.random(`database ${name} ${life}`)),
        limits: { compactAfterEntries: 400, keptEntries: 50 },
        placement: {
          deadAfterMs: 3_000,
          retryAfterMs: 3_000,
          dampingMs: worldTimes.dampingMs,
          stepTimeoutMs: 15_000,
          splits: {
            maximumBytes: rowsOfRange * 50,
            mergeBelowBytes: rowsOfRange * 25,
            splitMergeBackoffMs: 2_000,
            retryAfterMs: 1_000,
          },
        },
        schema: { chunkRows: 8 },
      })
      if (process.life !== life) return
      first = false
      this.planes.set(name, plane)
      this.#wiped.delete(name)
    })
    machine.process.onCrash(() => this.planes.delete(name))
    this.servers.push(machine)
    machine.start()
  }

  #addAgent(name: string, locality: string, token: string): void {
    const incarnation = 1 + this.sim.random(`incarnation ${name}`).integer(1_000_000_000)
    const secrets = this.sim.random(`secrets ${name}`)
    const machine = this.#addMachine(name, async (env, process, disk) => {
      const { life } = process
      const ranges = new MemoryRangeHost(this.plane, name)
      const agent = await NodeAgent.join({
        env,
        clusterId,
        nodeId: name,
        incarnation,
        seeds: this.#seeds(),
        token,
        transport: this.transports.factory(process, { port: 1 }),
        database: await openDatabase(disk, 'agent', this.sim.random(`database ${name} ${life}`)),
        locality: parseLocality(locality),
        session: { ttlMs: worldTimes.sessionTtlMs, renewIntervalMs: 600 },
        schemaLeaseMs: worldTimes.schemaLeaseMs,
        secretBytes: (length) => secrets.bytes(length),
      })
      if (process.life !== life) return
      this.nodes.set(name, agent)
      agent.serve({ ranges, schema: this.#schemaHost(name) })
      const drive = (): void => {
        ranges.drive()
        env.timers.schedule(250, drive)
      }
      drive()
      void this.#work(name, env, agent)
    })
    machine.process.onCrash(() => {
      const epoch = this.nodes.get(name)?.epoch
      if (epoch !== undefined) this.#crashedEpochs.add(epoch)
      this.nodes.delete(name)
      this.planning.delete(name)
    })
    this.agents.push(machine)
    machine.start()
  }

  #addMachine(
    name: string,
    program: (env: Environment, process: SimulatedProcess, disk: MemoryDisk) => Promise<void>,
  ): Machine {
    const process = this.sim.process(name)
    const random = this.sim.random(`disk ${name}`)
    const observer = this.sim.environment('observer')
    // Nothing runs where the disk is while somebody looks at it.
    const timers = (): Timers => (this.#recovering ? observer : process.environment).timers
    const disk = new MemoryDisk({
      timers: {
        schedule: (delayMs, callback) => timers().schedule(delayMs, callback),
        defer: (callback) => timers().defer(callback),
      },
      syncLatencyMs: () => random.float() * 2 * machine.syncMs,
    })
    process.onCrash(() => disk.crash(random))
    const machine: Machine = {
      name,
      process,
      syncMs: 1,
      start: () => {
        const { life } = process
        program(process.environment, process, disk).catch((error: unknown) => {
          if (process.life === life) this.#ended(machine, error)
        })
      },
      startAgain: () => {
        // Whoever recovers the servers starts all of them.
        if (process.state !== 'crashed' || (this.#recovering && this.servers.includes(machine))) return
        process.restart()
        machine.start()
      },
      wipe: () => {
        disk.wipe()
        this.#wiped.add(name)
      },
      stopped: async () => {
        const database = await openDatabase(disk, 'metadata', random)
        const env = this.sim.environment('observer')
        return {
          env,
          clusterId,
          nodeId: name,
          log: memoryLog({ disk }),
          database,
          close: async () => database.close(),
        }
      },
    }
    return machine
  }

  /** A supervisor starts a program again that gave up for now; one that gave up for good is a failure of the run. */
  #ended(machine: Machine, error: unknown): void {
    this.sim.note(machine.name, 'ended by itself', String(error))
    if (!KeelsonError.is(error) || !error.retryable) {
      this.judge.broken ??= error
      return
    }
    this.restarts++
    machine.process.crash('kill')
    this.sim.scheduler.schedule(500, () => machine.startAgain())
  }

  /** Commands that are planned under whatever version the node holds, for as long as this life lasts. */
  async #work(name: string, env: Environment, agent: NodeAgent): Promise<void> {
    const { process } = this.agents.find((machine) => machine.name === name) as Machine
    const random = this.sim.random(`work ${name} ${process.life}`)
    for (;;) {
      await sleep(env.timers, between(random, 50, 500))
      if (this.#tableId === 0 || this.plane.ranges.size === 0) continue
      try {
        const pin = agent.schema.pin(this.#tableId)
        this.judge.pinned(name)
        this.planning.add(name)
        await sleep(env.timers, between(random, 0, 200))
        this.planning.delete(name)
        const command: RowCommand = {
          table: pin.table,
          rowId: random.integer(this.size.ranges * rowsOfRange),
          type: random.integer(4) === 0 ? 'delete' : 'put',
        }
        if (!chance(random, this.#lateCommands)) this.#execute(command)
        // It was given up, so nothing holds the version for it any more, and still it is on its way.
        else this.sim.scheduler.schedule(between(random, ...lateByMs), () => this.#execute(command))
        pin.release()
      } catch (error) {
        if (!KeelsonError.hasCode(error, 'STALE_SCHEMA', 'NOT_FOUND')) throw error
      }
    }
  }

  /** In whatever range has the row by now. */
  #execute(command: RowCommand): void {
    const { table, rowId } = command
    const key = rowKey(table.tableId, rowId)
    const range = [...this.plane.ranges.values()].find((each) => holds(each, key))
    if (range === undefined || range.frozen !== undefined || !this.plane.isServed(range)) return
    const accepted = range.rows.execute(command)
    this.sim.trace.mix(rowId * 2 + (accepted ? 1 : 0))
    this.judge.executed(table.tableId, table.version, accepted)
  }

  #schemaHost(name: string): SchemaHost {
    const rows = ({ rangeId, bounds }: SchemaChunk): RangeRows => {
      const range = this.plane.led(name, rangeId)
      if (bounds !== undefined && MemoryDataPlane.inWords(bounds) !== MemoryDataPlane.inWords(range))
        throw moved(`range ${rangeId} lies elsewhere`)
      return range.rows
    }
    return {
      barrier: async (chunk) => rows(chunk).barrier(chunk),
      backfill: async (chunk) => rows(chunk).backfill(chunk),
      purge: async (chunk) => rows(chunk).purge(chunk),
      validate: async (chunk) => rows(chunk).validate(chunk),
    }
  }

  #watch(): void {
    this.judge.watch(this.client.store).catch((error: unknown) => {
      this.judge.broken ??= error
    })
    const look = (): void => {
      this.judge.look(
        this.agents.map(({ name, process }) => {
          const agent = this.nodes.get(name)
          return {
            name,
            running: process.state === 'running',
            actsUnder: agent?.live === true ? agent.epoch : undefined,
            connected: this.servers.some(
              (server) =>
                server.process.state === 'running' &&
                !this.conditions.isBlocked(name, server.name) &&
                !this.conditions.isBlocked(server.name, name),
            ),
          }
        }),
      )
      this.sim.scheduler.schedule(lookEveryMs, look)
    }
    look()
  }
}

async function openDatabase(
  disk: MemoryDisk,
  name: string,
  random: Random,
): Promise<MemoryLevel<Uint8Array, Uint8Array>> {
  const database = new MemoryLevel<Uint8Array, Uint8Array>({
    disk,
    name,
    logIsFull: () => random.float() < 0.02,
    keyEncoding: 'view',
    valueEncoding: 'view',
  })
  await database.open()
  return database
}
