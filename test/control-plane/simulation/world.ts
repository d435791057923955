import { bootstrap, ControlPlane, join, NodeAgent, PlaneClient } from '../../../src/control-plane/index.ts'
import { type CallOptions, sleep } from '../../../src/core/async.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, pick, type SeededRandom } from '../../../src/core/random.ts'
import type { SchemaHost, SchemaValidation } from '../../../src/interfaces/schema-host.ts'
import { parseLocality } from '../../../src/model/locality.ts'
import { encodeTuple } from '../../../src/model/tuple.ts'
import { Nodes } from '../../../src/nodes/index.ts'
import {
  type FaultKind,
  NetworkConditions,
  type SimulatedProcess,
  SimulatedTransports,
  Simulation,
} from '../../../src/simulation/index.ts'
import { MemoryDisk, MemoryLevel, memoryLog } from '../../../src/storage/memory/index.ts'
import { type DataPlaneBugs, MemoryDataPlane, MemoryRangeHost } from './data-plane.ts'

const clusterId = 'simulated'
const secret = 'a secret of the simulated cluster'

/** How large a world is. */
export interface WorldSize {
  readonly servers: number
  readonly agents: number
  readonly ranges: number
}

interface Machine {
  readonly name: string
  readonly process: SimulatedProcess
  readonly disk: MemoryDisk
  readonly random: SeededRandom
  /** Starts the program of this machine's present life. */
  start(): void
  /** Anything that ended the program by itself. */
  failure: unknown
}

/** Servers, agents, a data plane, and somebody who watches: the whole composition in virtual time. */
export class World {
  readonly sim: Simulation
  readonly conditions: NetworkConditions
  readonly transports: SimulatedTransports
  readonly plane: MemoryDataPlane
  readonly servers: Machine[] = []
  readonly agents: Machine[] = []
  readonly planes = new Map<string, ControlPlane>()
  readonly nodes = new Map<string, NodeAgent>()
  readonly size: WorldSize
  /** Versions of the table that work is planned under, with how much. */
  readonly versionsInUse = new Map<number, number>()
  client!: PlaneClient
  #tableId = 0

  constructor(seed: number, size: WorldSize, bugs: DataPlaneBugs = {}) {
    this.size = size
    this.sim = new Simulation({ seed })
    this.conditions = new NetworkConditions(this.sim.random('network'), this.sim.faults, {
      meanExtraDelayMs: 1,
    })
    this.transports = new SimulatedTransports(
      this.sim.scheduler,
      this.conditions,
      this.sim.random('transport'),
    )
    this.plane = new MemoryDataPlane(this.sim, bugs)
  }

  /** Starts everything and makes a table. Call it inside the run. */
  async build(): Promise<void> {
    const env = this.sim.environment('observer')
    for (let i = 1; i <= this.size.servers; i++) this.#addServer(`cp${i}`)
    const transport = this.transports.factory(this.sim.process('observer'))
    const seeds = this.#seeds()
    this.client = await PlaneClient.connect({ env, clusterId, seeds, transport, name: 'observer' })
    this.#watchDirectory()
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
          Array.from({ length: this.size.ranges - 1 }, (_, i) => encodeRowKey(tableId, i + 1)),
      },
    )
    this.#tableId = table.tableId
  }

  /** All faults that come and go. */
  faults(): FaultKind[] {
    const crash = (
      machines: () => readonly Machine[],
      name: string,
      meanIntervalMs: number,
      most: number,
    ): FaultKind => ({
      name,
      meanIntervalMs,
      durationMs: [500, most],
      begin: (random) => {
        const machine = pick(random, machines())
        if (machine.process.state !== 'running') return undefined
        machine.process.crash(random.integer(2) === 0 ? 'power' : 'kill')
        return () => {
          machine.process.restart()
          machine.start()
        }
      },
    })
    const pause = (machines: () => readonly Machine[], name: string): FaultKind => ({
      name,
      meanIntervalMs: 8_000,
      durationMs: [100, 12_000],
      begin: (random) => {
        const machine = pick(random, machines())
        if (machine.process.state !== 'running') return undefined
        machine.process.pause()
        return () => machine.process.resume()
      },
    })
    const names = (): string[] => [...this.servers, ...this.agents].map(({ name }) => name)
    return [
      crash(() => this.servers, 'server crash', 6_000, 8_000),
      crash(() => this.agents, 'node crash', 5_000, 20_000),
      pause(() => this.servers, 'server pause'),
      pause(() => this.agents, 'node pause'),
      {
        name: 'partition',
        meanIntervalMs: 10_000,
        durationMs: [200, 10_000],
        begin: (random) => {
          const side = names().filter(() => random.integer(4) === 0)
          const other = names().filter((name) => !side.includes(name))
          const links = side.flatMap((from) => other.map((to) => [from, to] as const))
          const oneWay = random.integer(3) === 0
          return this.conditions.partition(
            oneWay ? links : [...links, ...links.map(([from, to]) => [to, from] as const)],
          )
        },
      },
      {
        name: 'connections broken',
        meanIntervalMs: 5_000,
        durationMs: [0, 1],
        begin: (random) => {
          this.transports.breakConnections(pick(random, names()))
          return () => {}
        },
      },
      {
        name: 'slow sync',
        meanIntervalMs: 6_000,
        durationMs: [100, 4_000],
        begin: (random) => {
          const { name } = pick(random, this.servers)
          const before = this.#syncMs.get(name) ?? 1
          this.#syncMs.set(name, between(random, 20, 400))
          return () => this.#syncMs.set(name, before)
        },
      },
      {
        name: 'clock drift',
        meanIntervalMs: 4_000,
        durationMs: [100, 10_000],
        begin: (random) => {
          const machine = pick(random, [...this.servers, ...this.agents])
          machine.process.setClockRate(between(random, 0.995, 1.005))
          return () => machine.process.setClockRate(1)
        },
      },
    ]
  }
  readonly #syncMs = new Map<string, number>()

  /** Waits in virtual time. @throws KeelsonError `TIMEOUT` */
  async until(what: string, limitMs: number, ask: () => Promise<boolean> | boolean): Promise<void> {
    const env = this.sim.environment('observer')
    const startMs = this.sim.nowMs
    for (;;) {
      const yes = await Promise.resolve(ask()).catch((error: unknown) => {
        if (KeelsonError.is(error) && error.retryable) return false
        throw error
      })
      if (yes) return
      if (this.sim.nowMs - startMs > limitMs) {
        throw new KeelsonError('TIMEOUT', `after ${limitMs} ms it is still not true that ${what}`)
      }
      await sleep(env.timers, 100)
    }
  }

  /** What operators do while things break: a schema change, and a node that is to go. */
  async operate(): Promise<void> {
    const { admin } = this.client
    const env = this.sim.environment('observer')
    const again = async <T>(act: () => Promise<T>): Promise<T> => {
      for (;;) {
        try {
          return await act()
        } catch (error) {
          if (!KeelsonError.is(error) || !error.retryable) throw error
          await sleep(env.timers, 200)
        }
      }
    }
    await again(() => admin.nodes.drain('db1', 'simulation'))
    const key = 'simulated index'
    const change = { type: 'addIndex', name: 'by_size', columns: ['size'] } as const
    const job = await again(async () => {
      const known = (await admin.jobs.list()).find(({ type }) => type === 'schema-change')
      return known ?? admin.changeSchema('rows', change, { reason: key })
    })
    await again(() => admin.finished(job))
  }

  /** Resolves when everything is well: somebody leads, all nodes are live, all ranges whole, all work done. */
  async recovered(work: Promise<void>): Promise<void> {
    const limitMs = 60_000
    await this.until('the control plane takes writes', limitMs, async () => {
      await this.client.store.txn({
        then: [{ type: 'put', key: Uint8Array.of(0x7e), value: new Uint8Array(1) }],
      })
      return true
    })
    await this.until('all nodes are live', limitMs, () => {
      const leader = [...this.planes.values()].find(
        (plane) => plane.duties !== undefined && this.plane.isUp(plane.nodeId),
      )
      const nodes = leader?.duties?.nodes.nodes() ?? []
      return nodes.length === this.size.agents && nodes.every(({ liveness }) => liveness === 'live')
    })
    await work
    await this.until('all ranges are whole, and the drained node is empty', limitMs, () =>
      this.isWhole(['db1']),
    )
    await this.until('the directory has caught up', limitMs, async () => {
      const ranges = await this.client.admin.ranges()
      return ranges.every(
        ({ rangeId, generation }) => generation === this.plane.ranges.get(rangeId)?.generation,
      )
    })
  }

  /** Every range has three voters on nodes that run, none of them on `without`. */
  isWhole(without: readonly string[] = []): boolean {
    return [...this.plane.ranges.values()].every(
      ({ replicas }) =>
        replicas.length === 3 &&
        replicas.every(
          ({ role, nodeId }) => role === 'voter' && this.plane.isUp(nodeId) && !without.includes(nodeId),
        ),
    )
  }

  #seeds(): string[] {
    return this.servers.map(({ name }) => `${name}:1`)
  }

  #addServer(name: string): void {
    const others = Array.from({ length: this.size.servers }, (_, i) => `cp${i + 1}:1`).filter(
      (seed) => seed !== `${name}:1`,
    )
    const machine = this.#addMachine(name, async (env, process, disk) => {
      const database = await openDatabase(disk, 'metadata')
      const plane = await ControlPlane.open({
        env,
        clusterId,
        nodeId: name,
        cluster: name === 'cp1' ? bootstrap({ others, secret }) : join({ seeds: others, secret }),
        transport: this.transports.factory(process, { port: 1 }),
        log: memoryLog({ disk }),
        database,
        placement: { deadAfterMs: 3_000 },
      })
      this.planes.set(name, plane)
    })
    this.servers.push(machine)
    machine.start()
  }

  #addAgent(name: string, locality: string, token: string): void {
    const incarnation = 1 + this.sim.random(`incarnation ${name}`).integer(1_000_000_000)
    const secrets = this.sim.random(`secrets ${name}`)
    const machine = this.#addMachine(name, async (env, process, disk) => {
      const database = await openDatabase(disk, 'agent')
      const ranges = new MemoryRangeHost(this.plane, name)
      const agent = await NodeAgent.join({
        env,
        clusterId,
        nodeId: name,
        incarnation,
        seeds: this.#seeds(),
        token,
        transport: this.transports.factory(process, { port: 1 }),
        database,
        locality: parseLocality(locality),
        session: { ttlMs: 3_000, renewIntervalMs: 600 },
        schemaLeaseMs: 10_000,
        secretBytes: (length) => secrets.bytes(length),
      })
      this.nodes.set(name, agent)
      agent.serve({ ranges, schema: this.#schemaHost() })
      const life = process.life
      const drive = (): void => {
        if (process.life !== life) return
        ranges.drive()
        env.timers.schedule(250, drive)
      }
      drive()
      void this.#work(name, env, agent, machine)
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
    const disk = new MemoryDisk({
      timers: {
        schedule: (delayMs, callback) => process.environment.timers.schedule(delayMs, callback),
        defer: (callback) => process.environment.timers.defer(callback),
      },
      syncLatencyMs: () => random.float() * 2 * (this.#syncMs.get(name) ?? 1),
    })
    process.onCrash(() => disk.crash(random))
    const machine: Machine = {
      name,
      process,
      disk,
      random,
      failure: undefined,
      start: () => {
        const { life } = process
        program(process.environment, process, disk).catch((error: unknown) => {
          if (process.life === life) machine.failure = error
        })
      },
    }
    return machine
  }

  /** Work that is planned under whatever schema version the node holds, for as long as this life lasts. */
  async #work(name: string, env: Environment, agent: NodeAgent, machine: Machine): Promise<void> {
    const { life } = machine.process
    const random = this.sim.random(`work ${name} ${life}`)
    let held: { version: number; release: () => void } | undefined
    const end = (): void => {
      if (held === undefined) return
      this.#use(held.version, -1)
      held = undefined
    }
    const stop = machine.process.onCrash(() => {
      stop()
      end()
    })
    while (machine.process.life === life) {
      await sleep(env.timers, between(random, 50, 500))
      if (this.#tableId === 0) continue
      try {
        const pin = agent.schema.pin(this.#tableId)
        held = { version: pin.table.version, release: pin.release }
        this.#use(pin.table.version, 1)
        await sleep(env.timers, between(random, 0, 200))
        end()
        pin.release()
      } catch (error) {
        if (!KeelsonError.hasCode(error, 'STALE_SCHEMA', 'NOT_FOUND')) throw error
      }
    }
  }

  /** A node that stood still wakes up with old work; its commands are refused at the barrier, so it does not count. */
  #use(version: number, amount: number): void {
    const left = (this.versionsInUse.get(version) ?? 0) + amount
    if (left <= 0) this.versionsInUse.delete(version)
    else this.versionsInUse.set(version, left)
  }

  #schemaHost(): SchemaHost {
    const nothing = async (_chunk: unknown, _options: CallOptions): Promise<SchemaValidation> => ({
      resumeAt: undefined,
      rows: 0,
      missing: 0,
      orphans: 0,
    })
    return {
      barrier: async () => {},
      backfill: nothing,
      purge: nothing,
      validate: nothing,
    }
  }

  /** The directory as everybody may see it: generations only grow, it is never ahead of the ranges, and it has no gap. */
  #watchDirectory(): void {
    const generations = new Map<number, number>()
    const watch = async (): Promise<void> => {
      for await (const event of this.client.admin.directory.watch()) {
        const ranges = event.type === 'snapshot' ? event.ranges : event.updated
        for (const { rangeId, generation } of ranges) {
          if (generation < (generations.get(rangeId) ?? 0))
            this.#broken(`the generation of range ${rangeId} went back`)
          generations.set(rangeId, generation)
          const truth = this.plane.ranges.get(rangeId)?.generation
          if (truth !== undefined && generation > truth)
            this.#broken(`the directory is ahead of range ${rangeId}`)
        }
      }
    }
    void watch().catch((error: unknown) => {
      if (!KeelsonError.hasCode(error, 'CLOSED')) this.broken ??= error
    })
  }

  /** The first invariant that did not hold. */
  broken: unknown

  #broken(what: string): void {
    this.broken ??= new KeelsonError('INVARIANT_VIOLATED', what)
  }
}

function encodeRowKey(tableId: number, id: number): Uint8Array {
  return encodeTuple([tableId, id])
}

async function openDatabase(disk: MemoryDisk, name: string): Promise<MemoryLevel<Uint8Array, Uint8Array>> {
  const database = new MemoryLevel<Uint8Array, Uint8Array>({
    disk,
    name,
    keyEncoding: 'view',
    valueEncoding: 'view',
  })
  await database.open()
  return database
}
