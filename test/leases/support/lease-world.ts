import { sleep } from '../../../src/core/async.ts'
import type { Environment } from '../../../src/core/environment.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import type { MetadataStore } from '../../../src/interfaces/metadata-store.ts'
import { decodeHolder, holderKey } from '../../../src/leases/core/records.ts'
import { Fence, LeaseAudit, Leases, type SessionLeaseToken } from '../../../src/leases/index.ts'
import { memoryStore, SessionHolder } from '../../../src/metadata/index.ts'
import { type SimulatedProcess, Simulation } from '../../../src/simulation/index.ts'
import { type Link, RemoteStore } from './remote-store.ts'

const name = 'primary'
const ttlMs = 1_000

/** What happened in a run. */
export interface LeaseRun {
  readonly effects: number
  readonly refused: number
  readonly holders: ReadonlySet<string>
  readonly transfers: number
  readonly lastSequence: number
  /** Effects in the time after all faults were healed. */
  readonly effectsAfterHealing: number
}

interface Member {
  readonly process: SimulatedProcess
  readonly link: Link
  leases: Leases | undefined
  /** Its machine sleeps: its clock stands still, and it does nothing. */
  suspended: boolean
}

/** A thing that exactly one process may change: it has no quorum, but a fence. */
class Resource {
  readonly #fence = new Fence()
  readonly #audit: LeaseAudit
  effects = 0
  refused = 0

  constructor(audit: LeaseAudit) {
    this.#audit = audit
  }

  install(sequence: number): boolean {
    if (!this.#fence.install(sequence)) return false
    this.#audit.installed(name, sequence)
    return true
  }

  write(holder: string, sequence: number): boolean {
    if (!this.#fence.admits(sequence)) {
      this.refused++
      return false
    }
    this.effects++
    this.#audit.effect(name, { holder, sequence })
    return true
  }
}

/**
 * Several processes that want one lease, each with a session of its own over a bad network, and a resource that they
 * change while they have it. They are stopped, put to sleep, killed, started again and cut off; their clocks run apart
 * within the bound.
 */
export class LeaseWorld {
  readonly simulation: Simulation
  readonly #random: SeededRandom
  readonly #audit = new LeaseAudit()
  readonly #resource = new Resource(this.#audit)
  readonly #store: MetadataStore
  readonly #members: Member[] = []
  readonly #holders = new Set<string>()
  #transfers = 0
  #lastSequence = 0

  constructor(seed: number) {
    this.simulation = new Simulation({ seed })
    this.#random = this.simulation.random('world')
    this.#store = memoryStore({ env: this.simulation.environment('store') })
    this.simulation.process('store').setClockRate(this.#rate())
    for (const id of ['n1', 'n2', 'n3', 'n4']) {
      const process = this.simulation.process(id)
      process.setClockRate(this.#rate())
      this.#members.push({ process, link: { cut: false }, leases: undefined, suspended: false })
    }
  }

  /** Runs for so long with faults, then as long without. @throws what the audit finds */
  async run(durationMs: number): Promise<LeaseRun> {
    void this.#watchGrants()
    this.#look()
    for (const member of this.#members) {
      this.#start(member, member.process.environment)
      this.#disturb(member, durationMs)
    }
    await this.simulation.runFor(durationMs)
    const before = this.#resource.effects
    await this.simulation.runFor(10_000)
    return {
      effects: this.#resource.effects,
      refused: this.#resource.refused,
      holders: this.#holders,
      transfers: this.#transfers,
      lastSequence: this.#lastSequence,
      effectsAfterHealing: this.#resource.effects - before,
    }
  }

  /** Holder and store may drift apart by one per cent in all. */
  #rate(): number {
    return 1 + (this.#random.float() - 0.5) * 0.0095
  }

  /** Judges every change in the order of the store. */
  async #watchGrants(): Promise<void> {
    for await (const response of this.#store.watch({ key: holderKey(name) }, { fromRevision: 1 })) {
      if (response.type !== 'changes') continue
      for (const { type, entry } of response.events) {
        if (type !== 'put') continue
        const lease = decodeHolder(entry)
        this.#audit.granted(name, lease)
        this.#holders.add(lease.holder)
        this.#lastSequence = lease.sequence
        this.simulation.note(lease.holder, 'granted', lease.sequence, lease.epoch)
      }
    }
  }

  /** Looks at all processes at one instant. */
  #look(): void {
    this.simulation.scheduler.schedule(7, () => {
      void this.#judge()
      this.#look()
    })
  }

  async #judge(): Promise<void> {
    // No time passes: the store answers at once.
    const living = new Set((await this.#store.sessions()).map(({ sessionId }) => sessionId))
    const acting: { holder: string; sequence: number }[] = []
    for (const { process, leases, suspended } of this.#members) {
      if (leases === undefined || suspended || process.state === 'crashed') continue
      const token = leases.current(name)
      if (token === undefined) continue
      const actor = { holder: process.name, sequence: token.sequence }
      acting.push(actor)
      this.#audit.deadline(name, actor, living.has(token.epoch))
    }
    this.#audit.acting(name, acting)
  }

  #start(member: Member, env: Environment): void {
    const { process, link } = member
    const store = new RemoteStore(this.#store, this.simulation, process, link)
    let session: SessionHolder | undefined
    const leases = Leases.open({
      env,
      store,
      holder: process.name,
      session: () => session,
      stasisMs: 30,
      takeoverStaggerMs: 20,
      takeoverSpreadMs: 50,
    })
    member.leases = leases
    const holdSession = async (): Promise<void> => {
      for (;;) {
        try {
          session = await SessionHolder.open({
            env,
            store,
            holder: process.name,
            ttlMs,
            stasisMs: 30,
            sleepToleranceMs: 5,
          })
          await session.ended()
        } catch (error) {
          if (!KeelsonError.is(error)) throw error
        }
        await sleep(env.timers, 50)
      }
    }
    void holdSession()
    void this.#work(process.name, env, leases)
  }

  async #work(self: string, env: Environment, leases: Leases): Promise<void> {
    for (;;) {
      const abort = new AbortController()
      const giveUp = env.timers.schedule(between(env.random, 500, 20_000), () => abort.abort())
      try {
        const token = await leases.acquire(name, { signal: abort.signal, preference: env.random.integer(3) })
        await this.#act(self, env, leases, token)
        await this.#giveUp(env, leases)
      } catch (error) {
        if (!KeelsonError.is(error) || error.code === 'INVARIANT_VIOLATED') throw error
      } finally {
        giveUp.cancel()
      }
      await sleep(env.timers, between(env.random, 0, 300))
    }
  }

  async #act(self: string, env: Environment, leases: Leases, token: SessionLeaseToken): Promise<void> {
    const { process } = this.#members.find((member) => member.process.name === self) as Member
    if (!(await this.#send(process, () => this.#resource.install(token.sequence)))) return
    while (leases.statusOf(token) === 'valid') {
      // Stopped here, between the look and the effect, it wakes up in another world.
      await sleep(env.timers, between(env.random, 1, 40))
      await this.#send(process, () => this.#resource.write(self, token.sequence))
      if (chance(env.random, 0.02)) return
    }
  }

  async #giveUp(env: Environment, leases: Leases): Promise<void> {
    const others = this.#members.map(({ process }) => process.name)
    const kind = env.random.float()
    const drain = (): Promise<void> => sleep(env.timers, between(env.random, 0, 50))
    if (kind < 0.4) await leases.release(name, { drain })
    else if (kind < 0.8) {
      await leases.transfer(name, pick(env.random, others), { drain })
      this.#transfers++
    }
  }

  /** A message to the resource and its answer. Once on its way it arrives, whatever becomes of its sender. */
  #send(process: SimulatedProcess, effect: () => boolean): Promise<boolean> {
    const { scheduler } = this.simulation
    const life = process.life
    return new Promise((resolve) => {
      scheduler.schedule(between(this.#random, 0.5, 15), () => {
        const answer = effect()
        scheduler.schedule(between(this.#random, 0.5, 15), () => resolve(answer), process, life)
      })
    })
  }

  #disturb(member: Member, untilMs: number): void {
    const { scheduler } = this.simulation
    const { process, link } = member
    const later = (delayMs: number, task: () => void): void => {
      scheduler.schedule(delayMs, task)
    }
    const next = (): void => {
      const nowMs = this.simulation.nowMs
      const lastsMs = Math.min(between(this.#random, 10, 2_500), Math.max(1, untilMs - nowMs))
      if (nowMs >= untilMs) return
      const kind = this.#random.integer(5)
      const end = (task: () => void): void =>
        later(lastsMs, () => {
          task()
          later(between(this.#random, 500, 6_000), next)
        })
      if (kind === 0) {
        process.crash('kill')
        end(() => this.#start(member, process.restart()))
      } else if (kind <= 2) {
        link.cut = true
        end(() => {
          link.cut = false
        })
      } else {
        const suspend = kind === 4
        member.suspended = suspend
        process.pause({ suspend })
        end(() => {
          process.resume()
          member.suspended = false
        })
      }
    }
    later(between(this.#random, 500, 5_000), next)
  }
}
