import { LogHost } from '../../../../examples/replica-log/log-host.ts'
import type { LogNode, LogRecord } from '../../../../examples/replica-log/log-node.ts'
import { KeelsonError, SeededRandom } from '../../../../src/core/index.ts'
import type { MetadataStore } from '../../../../src/interfaces/index.ts'
import { type Job, JobRunner, Jobs, type JobType } from '../../../../src/jobs/index.ts'
import { ControllerEpoch, memoryStore } from '../../../../src/metadata/index.ts'
import { pathKey } from '../../../../src/metadata/keys.ts'
import type { MemberLife } from '../../../../src/placement/index.ts'
import {
  primaryChangeJob,
  QuorumSet,
  type ReplicaSetRecord,
  ReplicaSets,
  type ReplicaSetTuning,
  setChangeJob,
} from '../../../../src/placement/index.ts'
import { ReplicaSetAudit } from '../../../../src/placement/replica-sets/core/invariants.ts'
import { decodeReplicaSet } from '../../../../src/placement/replica-sets/record.ts'
import { FaultyStore, type StoreFault } from '../../../support/faulty-store.ts'
import { VirtualTime } from '../../../support/virtual-time.ts'

export const setName = 'accounts'

/** Nodes in the first life of their data. */
export function lives(nodeIds: Iterable<string>): readonly MemberLife[] {
  return [...nodeIds].map((nodeId) => ({ nodeId, incarnation: 1 }))
}

/** A replicated log in virtual time, under the control of leaders that may crash, judged by the audit. */
export class SetWorld {
  readonly time: VirtualTime
  readonly store: MetadataStore
  readonly sets: ReplicaSets
  readonly jobs: Jobs
  readonly host: LogHost
  readonly audit = new ReplicaSetAudit()
  readonly random: SeededRandom
  readonly down = new Set<string>()
  /** Pairs of nodes, or `control`, that do not reach each other: `a b`. */
  readonly cut = new Set<string>()
  latencyMs = 2
  /** Probability that an answer is lost. */
  loss = 0
  /** Probability that a message is under way for up to some seconds. */
  slow = 0
  /** Probability that a message arrives a second time, up to some seconds later. */
  again = 0
  broken: unknown
  writes = 0
  readonly #closing = new AbortController()
  #closers: (() => Promise<void>)[] = []

  constructor(seed = 5) {
    this.random = new SeededRandom(seed).child('sets')
    this.time = new VirtualTime(seed)
    this.store = memoryStore({ env: this.time.env })
    this.sets = new ReplicaSets({ env: this.time.env, store: this.store })
    this.jobs = new Jobs({ env: this.time.env, store: this.store })
    this.host = new LogHost({
      name: setName,
      timers: this.time.env.timers,
      intervalMs: 60,
      newest: async () => (await this.record()).set,
      reach: (from, to, act) => this.#reach(from, to, act),
    })
    this.host.observer = {
      installed: ({ gate }) => this.#judge(() => this.audit.installed(gate, gate.epoch, gate.sequence)),
      accepted: ({ gate }, record, set, sequence) =>
        this.#judge(() => this.audit.accepted(gate, record, { set, sequence })),
      acknowledged: (by, record, set) => this.#judge(() => this.audit.acknowledged(record, by, set.epoch)),
      promoted: (nodeId, sequence) =>
        this.#judge(() =>
          this.audit.promoted(nodeId, sequence, (write) => this.host.node(nodeId).has(write)),
        ),
    }
    void this.#follow().catch(() => {})
  }

  #judge(act: () => void): void {
    try {
      act()
    } catch (thrown) {
      this.broken ??= thrown
    }
  }

  /** Judges every record of the set that the store ever has. */
  async #follow(): Promise<void> {
    const key = pathKey('/placement/', 'replica-sets', setName)
    let before: ReplicaSetRecord | undefined
    for await (const response of this.store.watch({ key }, { signal: this.#closing.signal }))
      for (const change of response.type === 'changes' ? response.events : []) {
        const after = decodeReplicaSet(change.entry.value)
        const known = before ?? after
        this.#judge(() =>
          this.audit.changed(known, after, (nodeId, write) => this.host.node(nodeId).has(write)),
        )
        before = after
      }
  }

  async #reach<T>(from: string, to: string, act: () => T | Promise<T>): Promise<T> {
    const { random } = this
    const wait = (ms: number): Promise<void> =>
      new Promise((resolve) => void this.time.env.timers.schedule(ms, resolve))
    const check = (): void => {
      const isCut = this.cut.has(`${from} ${to}`) || this.cut.has(`${to} ${from}`)
      if (this.down.has(to) || this.down.has(from) || isCut)
        throw new KeelsonError('UNREACHABLE', `${from} does not reach ${to}`)
    }
    const slow = random.float() < this.slow
    if (random.float() < this.again)
      void wait(random.integer(4000)).then(() => {
        // A node takes what arrives late whoever has sent it, and whether that one is still there.
        if (!this.down.has(to))
          void Promise.resolve()
            .then(act)
            .catch(() => {})
      })
    await wait(1 + random.float() * this.latencyMs + (slow ? random.integer(2500) : 0))
    check()
    const result = await act()
    await wait(1 + random.float() * this.latencyMs)
    check()
    if (random.float() < this.loss) throw new KeelsonError('UNREACHABLE', 'the answer was lost')
    return result
  }

  async record(): Promise<NonNullable<Awaited<ReturnType<ReplicaSets['get']>>>['record']> {
    const stored = await this.sets.get(setName)
    if (stored === undefined) throw new Error('no replica set')
    return stored.record
  }

  async lead(
    options: { store?: MetadataStore; tuning?: Partial<ReplicaSetTuning> } = {},
  ): Promise<() => Promise<void>> {
    const { env } = this.time
    const store = options.store ?? this.store
    const epoch = await ControllerEpoch.acquire(this.store, 'controllers', 'a leader')
    const fence = {
      number: epoch.number,
      txn: async (...args: Parameters<typeof epoch.txn>) =>
        store instanceof FaultyStore && store.crashed ? new Promise<never>(() => {}) : epoch.txn(...args),
    }
    const ports = { env, store, host: this.host, pollIntervalMs: 20, callTimeoutMs: 200, ...options.tuning }
    const types = [setChangeJob(ports), primaryChangeJob(ports)] as JobType<unknown>[]
    const runner = JobRunner.start({ env, store, epoch: fence, types })
    const close = async (): Promise<void> => {
      if (!(store instanceof FaultyStore && store.crashed)) await runner.close()
    }
    this.#closers.push(close)
    return close
  }

  /** A leader that dies at one of its next calls to the store. */
  async leadFor(
    calls: number,
    fault: StoreFault,
    tuning: Partial<ReplicaSetTuning> = {},
  ): Promise<FaultyStore> {
    const store = new FaultyStore(this.store, (call) => (call === calls ? fault : undefined))
    await this.lead({ store, tuning })
    return store
  }

  /** Makes the set, with its first primary. */
  async begin(
    members: readonly string[],
    quorums: { writeQuorum?: number; readQuorum?: number } = {},
  ): Promise<void> {
    const set = QuorumSet.of(lives(members), quorums)
    await this.sets.create(setName, set)
    for (const nodeId of members) this.host.node(nodeId).install({ name: setName, set, sequence: 0 })
    const close = await this.lead()
    const { status, lastError } = await this.changePrimary({ to: members[0] as string, emergency: true })
    if (status !== 'succeeded') throw new Error(`no first primary: ${lastError?.message}`)
    await this.time.until(close())
  }

  async changePrimary(change: { to?: string; emergency?: boolean; force?: boolean }): Promise<Job> {
    const job = await this.sets.changePrimary(setName, change, { reason: 'a test' })
    return this.time.until(this.jobs.ended(job.jobId))
  }

  async changeMember(change: { suspect: string; candidate: string; mayReturn?: boolean }): Promise<Job> {
    const { incarnation } = this.host.node(change.candidate).gate
    return this.sets.changeMember(setName, { ...change, incarnation }, { reason: 'a test' })
  }

  async ended(job: Job): Promise<Job> {
    return this.time.until(this.jobs.ended(job.jobId))
  }

  crash(nodeId: string): void {
    this.down.add(nodeId)
    this.host.node(nodeId).crash()
  }

  /** It comes back at once, with nothing. */
  wipe(nodeId: string): void {
    this.host.wipe(nodeId)
  }

  /** Whether the set means this life of a node's data. */
  isMeant(node: LogNode, set: QuorumSet): boolean {
    return set.member(node.nodeId)?.incarnation === node.gate.incarnation
  }

  restart(nodeId: string): void {
    this.down.delete(nodeId)
  }

  /** Writes to whoever believes to be primary, without waiting. */
  writeSomewhere(): void {
    const serving = this.host.nodes().filter((node) => node.status().serving && !this.down.has(node.nodeId))
    for (const node of serving) {
      void node.write(`v${++this.writes}`).catch(() => {})
    }
  }

  async write(value: string): Promise<LogRecord> {
    const node = this.host.primary()
    if (node === undefined) throw new Error('nobody is primary')
    return this.time.until(node.write(value), 20_000)
  }

  /** Lets time pass, and judges. */
  async advance(ms: number): Promise<void> {
    await this.time.advance(ms)
    await this.judge()
  }

  async judge(): Promise<void> {
    if (this.broken !== undefined) throw this.broken
    const record = await this.record()
    this.audit.durable(
      record,
      ({ nodeId, incarnation, joined }) => {
        const status = this.host.node(nodeId).status()
        return status.incarnation === incarnation && status.completeFor === joined
      },
      (nodeId, write) => this.host.node(nodeId).has(write),
    )
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.host.close()
    for (const close of this.#closers) await this.time.until(close())
  }
}
