import assert from 'node:assert/strict'
import {
  bootstrap,
  type ClusterStart,
  ControlPlane,
  join,
  NodeAgent,
  PlaneClient,
} from '../../../src/control-plane/index.ts'
import { sleep } from '../../../src/core/async.ts'
import { text, utf8 } from '../../../src/core/bytes.ts'
import type { MetadataStore } from '../../../src/interfaces/index.ts'
import { Nodes } from '../../../src/nodes/index.ts'
import {
  NetworkConditions,
  type SimulatedProcess,
  SimulatedTransports,
  Simulation,
} from '../../../src/simulation/index.ts'
import { MemoryDisk, MemoryLevel, memoryLog } from '../../../src/storage/memory/index.ts'

export const clusterId = 'shared'
export const secret = 'a secret that all servers share'
/** Where the servers of {@link Site.threeServers} have a greeting. */
export const greetingKey = utf8('/greeting')

/** A machine with two disks: one for the log, one for the database. */
export class Machine {
  readonly process: SimulatedProcess
  readonly log = new MemoryDisk()
  readonly state = new MemoryDisk()
  plane: ControlPlane | undefined
  agent: NodeAgent | undefined

  constructor(process: SimulatedProcess) {
    this.process = process
    process.onCrash(() => {
      this.plane = undefined
      this.agent = undefined
    })
  }

  async database(): Promise<MemoryLevel<Uint8Array, Uint8Array>> {
    const database = new MemoryLevel<Uint8Array, Uint8Array>({
      disk: this.state,
      keyEncoding: 'view',
      valueEncoding: 'view',
    })
    await database.open()
    return database
  }

  /** The process ends; what it had on its disks stays. */
  crash(): void {
    const random = { integer: () => 0 } as never
    this.process.crash('power')
    this.log.crash(random)
    this.state.crash(random)
  }

  restart(): void {
    this.process.restart()
  }

  wipe(): void {
    this.log.wipe()
    this.state.wipe()
  }
}

/** Machines with fixed addresses, `<name>:1`. */
export class Site {
  readonly sim = new Simulation({ seed: 11 })
  readonly env = this.sim.environment('observer')
  readonly machines = new Map<string, Machine>()
  readonly #transports = new SimulatedTransports(
    this.sim.scheduler,
    new NetworkConditions(this.sim.random('network'), this.sim.faults),
    this.sim.random('transports'),
  )

  machine(name: string): Machine {
    let machine = this.machines.get(name)
    if (machine === undefined) {
      machine = new Machine(this.sim.process(name))
      this.machines.set(name, machine)
    }
    return machine
  }

  async server(name: string, cluster: ClusterStart, signal?: AbortSignal): Promise<ControlPlane> {
    const machine = this.machine(name)
    const { process, log } = machine
    const plane = await ControlPlane.open(
      {
        env: process.environment,
        clusterId,
        nodeId: name,
        cluster,
        transport: this.#transports.factory(process, { port: 1 }),
        log: memoryLog({ disk: log }),
        database: await machine.database(),
      },
      signal === undefined ? {} : { signal },
    )
    machine.plane = plane
    return plane
  }

  async agent(name: string, seeds: readonly string[], token?: string): Promise<NodeAgent> {
    const machine = this.machine(name)
    const secrets = this.sim.random(`secrets ${name}`)
    machine.agent = await NodeAgent.join({
      env: machine.process.environment,
      clusterId,
      nodeId: name,
      incarnation: 1,
      seeds,
      ...(token === undefined ? {} : { token }),
      transport: this.#transports.factory(machine.process, { port: 1 }),
      database: await machine.database(),
      secretBytes: (length) => secrets.bytes(length),
    })
    return machine.agent
  }

  /** Through the server of this name. */
  async token(server: string): Promise<string> {
    const store = this.machine(server).plane?.store
    assert.ok(store !== undefined)
    const secrets = this.sim.random('tokens')
    const nodes = new Nodes({
      env: this.env,
      store,
      replicasOf: async () => 0,
      secretBytes: (length) => secrets.bytes(length),
    })
    return nodes.createToken({ reason: 'a test' })
  }

  async client(seeds: readonly string[]): Promise<PlaneClient> {
    const process = this.sim.process(`client ${seeds.join(' ')}`)
    const transport = this.#transports.factory(process, { listen: false })
    return PlaneClient.connect({ env: process.environment, clusterId, seeds, transport })
  }

  async until(what: string, condition: () => boolean | Promise<boolean>, limitMs = 60_000): Promise<void> {
    const from = this.sim.nowMs
    while (!(await condition())) {
      assert.ok(this.sim.nowMs < from + limitMs, `not within ${limitMs} ms: ${what}`)
      await sleep(this.env.timers, 50)
    }
  }

  /** cp1, cp2 and cp3, with a greeting in their store. */
  async threeServers(): Promise<void> {
    await this.server('cp1', bootstrap({ secret }))
    for (const name of ['cp2', 'cp3']) await this.server(name, join({ seeds: ['cp1:1'], secret }))
    await this.machine('cp1').plane?.store.txn({
      then: [{ type: 'put', key: greetingKey, value: utf8('of the first') }],
    })
  }

  async run(body: () => Promise<void>): Promise<void> {
    await this.sim.until(body(), 600_000)
  }
}

export async function greeting(store: MetadataStore): Promise<string | undefined> {
  const entry = await store.get(greetingKey)
  return entry === undefined ? undefined : text(entry.value)
}
