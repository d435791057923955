import { encodeCommand } from '../../../../examples/citydb/commands.ts'
import { exportRequest, exportResponse, ruleOutRequest } from '../../../../examples/citydb/protocol.ts'
import { RangeDriver } from '../../../../examples/citydb/range-driver.ts'
import { RangeReplica } from '../../../../examples/citydb/range-replica.ts'
import { ReplicaKeeper } from '../../../../examples/citydb/replica-keeper.ts'
import type { Row } from '../../../../examples/citydb/schema.ts'
import { KeelsonError } from '../../../../src/core/errors.ts'
import type { RangeChange, WantedRange } from '../../../../src/interfaces/range-host.ts'
import type { RangeDescriptor } from '../../../../src/model/descriptors.ts'
import { encodeTuple } from '../../../../src/model/tuple.ts'
import type { RaftHost } from '../../../../src/raft/host/raft-host.ts'
import { MemoryDisk, MemoryLevel } from '../../../../src/storage/memory/index.ts'
import { Cluster, type ClusterNode } from '../../../raft/support/host-cluster.ts'

/** The key of a row, by a letter. */
export const key = (letter: string): Uint8Array => encodeTuple([1, letter])

const table = { tableId: 1, version: 1, elements: [] } as never

/** What a node of citydb is without a control plane: replicas on a simulated host, with their rows on a simulated disk. */
export class CityTestNode {
  readonly node: ClusterNode
  readonly #disk: MemoryDisk
  /** Answers what this node asks the holders of other ranges. */
  ask: (rangeId: number, method: string, body: Uint8Array) => Promise<Uint8Array>
  keeper!: ReplicaKeeper
  driver!: RangeDriver
  readonly wanted = new Map<number, WantedRange>()

  constructor(node: ClusterNode, ask: CityTestNode['ask']) {
    this.node = node
    this.ask = ask
    this.#disk = new MemoryDisk({
      timers: {
        schedule: (delayMs, callback) => node.env.timers.schedule(delayMs, callback),
        defer: (callback) => node.env.timers.defer(callback),
      },
    })
    const random = node.env.random
    node.process.onCrash(() => this.#disk.crash(random))
  }

  /** @param host what the keeper is given of the host */
  async start(host: RaftHost = this.node.host): Promise<void> {
    const { env } = this.node
    const database = new MemoryLevel<Uint8Array, Uint8Array>({
      disk: this.#disk,
      name: 'rows',
      keyEncoding: 'view',
      valueEncoding: 'view',
    })
    await database.open()
    const { signal } = new AbortController()
    this.keeper = await ReplicaKeeper.open({
      env,
      nodeId: this.node.name,
      rafts: host,
      database,
      signal,
      changed: () => {},
      replicaOf: (group, machine) =>
        new RangeReplica(group, machine, {
          env,
          pin: () => ({ table, [Symbol.dispose]: () => {} }),
          forward: async () => {},
          refused: () => {},
        }),
    })
    this.driver = new RangeDriver({
      env,
      signal,
      changed: () => {},
      keeper: { replicas: this.keeper.replicas, wanted: this.wanted },
      calls: { askHolder: (rangeId, method, body) => this.ask(rangeId, method, body) },
    })
    await this.keeper.openStored()
  }

  /** After a crash. */
  async restart(hostOf: (host: RaftHost) => RaftHost = (host) => host): Promise<void> {
    this.node.process.restart()
    await this.start(hostOf(await this.node.start()))
  }

  replica(rangeId: number): RangeReplica {
    const replica = this.keeper.replicas.get(rangeId)
    if (replica === undefined) throw new Error(`${this.node.name} has no replica of range ${rangeId}`)
    return replica
  }

  async rows(rangeId: number): Promise<string> {
    const letters: string[] = []
    for (const { key: at } of (await this.replica(rangeId).machine.rows(undefined, 1000)).items)
      letters.push(String.fromCharCode(at[at.length - 2] as number))
    return letters.join('')
  }
}

/** Some nodes of citydb in virtual time, and what the control plane would tell them. */
export class CityNodes {
  readonly cluster: Cluster
  readonly nodes: CityTestNode[] = []

  constructor(seed: number) {
    this.cluster = new Cluster({
      seed,
      limits: { compactAfterEntries: 40, keptEntries: 5 },
      raft: { maximumTailBytes: 0 },
    })
  }

  /** Nodes, and a range with id 1 that all of them hold, which lies everywhere and has begun. */
  async begin(...names: string[]): Promise<void> {
    const { cluster } = this
    await cluster.add(...names)
    for (const name of names) {
      const node = new CityTestNode(cluster.node(name), async (rangeId, method, body) =>
        this.answer(rangeId, method, body),
      )
      await node.start()
      this.nodes.push(node)
    }
    const descriptor: RangeDescriptor = {
      rangeId: 1,
      start: encodeTuple([1]),
      end: encodeTuple([2]),
      generation: 1,
      replicas: cluster.replicas(names),
    }
    await Promise.all(
      this.nodes.map((node, i) =>
        node.keeper.reconcile(
          [{ rangeId: 1, descriptor, member: true, bootstrap: i === 0 }],
          new AbortController().signal,
        ),
      ),
    )
    const holder = await this.holder(1)
    const { start, end } = descriptor
    await holder.replica(1).begin({ start, end }, {})
    await cluster.until(
      () => this.nodes.every((node) => node.replica(1).machine.layout.bounds !== undefined),
      'a range that has begun',
    )
  }

  /** The node that leads a range. */
  async holder(rangeId: number): Promise<CityTestNode> {
    const { name } = await this.cluster.leader(rangeId)
    return this.nodes.find(({ node }) => node.name === name) as CityTestNode
  }

  /** Holds up what a node applies of a range. @returns what lets it go on */
  holdUp(node: CityTestNode, rangeId: number): () => void {
    let open: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const { machine } = node.replica(rangeId)
    const apply = machine.apply.bind(machine)
    machine.apply = async (...call) => {
      await gate
      return apply(...call)
    }
    return open
  }

  async split(rangeId: number, letter: string, rightRangeId: number): Promise<void> {
    const replica = (await this.holder(rangeId)).replica(rangeId)
    const { generation } = replica
    await replica.changeBounds({ type: 'split', generation, key: key(letter), rightRangeId }, {})
    await this.cluster.until(
      () => this.nodes.some(({ keeper }) => keeper.replicas.get(rightRangeId)?.serves === true),
      'a right-hand range',
    )
  }

  /** Freezes the one range for what the other is now. */
  async freeze(leftRangeId: number, rightRangeId: number): Promise<void> {
    const left = (await this.holder(leftRangeId)).replica(leftRangeId)
    const right = (await this.holder(rightRangeId)).replica(rightRangeId)
    const { generation } = right
    await right.changeBounds(
      { type: 'freeze', generation, into: leftRangeId, intoGeneration: left.generation },
      {},
    )
  }

  /** Has the one range take in the other, which is frozen for it, as it would be asked for. */
  async merge(leftRangeId: number, rightRangeId: number): Promise<void> {
    const node = await this.holder(leftRangeId)
    const { generation: rightGeneration } = (await this.holder(rightRangeId)).replica(rightRangeId)
    await this.drive(node, leftRangeId, { type: 'merge', rightRangeId, rightGeneration })
    const end = {
      rangeId: rightRangeId,
      generation: 1_000_000,
      replicas: [],
      start: key('a'),
      end: undefined,
    }
    for (const { keeper } of this.nodes)
      await keeper.reconcile(
        [{ rangeId: rightRangeId, descriptor: end, member: false, bootstrap: false }],
        new AbortController().signal,
      )
  }

  async drive(node: CityTestNode, rangeId: number, change: RangeChange): Promise<void> {
    const { generation } = node.replica(rangeId)
    const wanted = { rangeId, change: { ...change, generation, epoch: 1 }, member: true, bootstrap: false }
    node.wanted.set(rangeId, { ...wanted, descriptor: {} as RangeDescriptor })
    await node.driver.drive(rangeId)
    node.wanted.clear()
  }

  /** What the holder of a range answers another node. */
  async answer(rangeId: number, method: string, body: Uint8Array): Promise<Uint8Array> {
    const holder = await this.holder(rangeId)
    if (method === 'export') {
      const { generation, resumeAt } = exportRequest.decode(body)
      return exportResponse.encode(await holder.replica(rangeId).export(generation, resumeAt, {}))
    }
    const { generation, rightRangeId } = ruleOutRequest.decode(body)
    const ruledOut = await holder.driver.ruleOut(holder.replica(rangeId), rightRangeId, generation)
    return ruledOut ? Uint8Array.of(1) : new Uint8Array(0)
  }

  async write(rangeId: number, letters: string): Promise<void> {
    const replica = (await this.holder(rangeId)).replica(rangeId)
    for (const letter of letters) {
      const session = await replica.openSession()
      await replica.write({
        rangeId,
        command: { rangeId, session, sequence: 1 },
        rows: [{ key: key(letter), columns: { population: 1 } }],
      })
    }
  }

  /** A write that comes into a range's log whatever its holder thinks of it: one that was on its way. */
  async late(
    rangeId: number,
    letter: string,
    commandId: { session: number; sequence: number },
  ): Promise<void> {
    const replica = (await this.holder(rangeId)).replica(rangeId)
    const row: Row = { population: 1 }
    const data = encodeCommand({
      type: 'write',
      tableId: 1,
      version: 1,
      sequence: 0,
      indexes: [],
      writes: [{ type: 'upsert', key: key(letter), columns: row }],
    })
    await replica.group.propose(data, { commandId })
  }

  /** Whether a command is refused with this code. */
  static isRefused(code: 'SESSION_UNKNOWN' | 'STALE_GENERATION'): (error: unknown) => boolean {
    return (error) => KeelsonError.hasCode(error, code)
  }
}
