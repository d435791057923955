import type { Job } from '../../../../src/jobs/index.ts'
import type { FaultyStore } from '../../../support/faulty-store.ts'
import { SetWorld, setName } from './set-world.ts'

/** What happened in a run. */
export interface SetRun {
  readonly acknowledged: number
  readonly planned: number
  readonly emergencies: number
  readonly members: number
  readonly undone: number
  /** Changes in which who was to be primary did not begin, and another one did. */
  readonly passedOver: number
  readonly refused: number
  readonly leaderCrashes: number
  readonly wiped: number
}

const tuning = { pollIntervalMs: 120, stepTimeoutMs: 3000, hydrateTimeoutMs: 6000, maximumOutageMs: 1500 }

/** One run: a set of three or six, in a world that is drawn from the seed. */
class Run {
  readonly world: SetWorld
  readonly six: boolean
  readonly members: readonly string[]
  readonly spares = ['x', 'y', 'z']
  leaderCrashes = 0
  wiped = 0
  #faulty: FaultyStore | undefined

  constructor(seed: number) {
    this.world = new SetWorld(seed)
    this.six = this.world.random.float() < 0.4
    this.members = this.six ? ['a', 'b', 'c', 'd', 'e', 'f'] : ['a', 'b', 'c']
  }

  async begin(): Promise<void> {
    const { world, six } = this
    const { random } = world
    await world.begin(this.members, six ? { writeQuorum: 4, readQuorum: 3 } : {})
    world.latencyMs = 5 + random.integer(60)
    world.loss = random.float() * 0.2
    world.slow = random.float() < 0.5 ? 0 : random.float() * 0.15
    world.again = random.float() < 0.5 ? 0 : random.float() * 0.15
    await this.lead()
  }

  async lead(): Promise<void> {
    const { world } = this
    if (this.#faulty?.crashed === true) this.leaderCrashes++
    const fault = world.random.float() < 0.5 ? 'crash' : 'crashAfter'
    this.#faulty = await world.leadFor(5 + world.random.integer(50), fault, tuning)
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.world.random.integer(list.length)] as T
  }

  /** Some get nothing of the primary, or some pairs do not reach each other, or one is cut off from a part of the world. */
  #cut(): void {
    const { cut, random } = this.world
    cut.clear()
    const nodes = [...this.members, ...this.spares]
    const everybody = ['control', ...nodes]
    const primary = this.world.host.primary()?.nodeId ?? this.#pick(nodes)
    const how = random.float()
    if (how < 0.4) {
      for (const other of nodes) if (random.float() < 0.4) cut.add(`${primary} ${other}`)
    } else if (how < 0.6) {
      for (let i = random.integer(4); i >= 0; i--)
        cut.add(`${this.#pick(everybody)} ${this.#pick(everybody)}`)
    } else if (how < 0.85) {
      const who = random.float() < 0.6 ? primary : this.#pick(everybody)
      for (const other of everybody) if (random.float() < 0.5) cut.add(`${who} ${other}`)
    }
  }

  #crash(nodeId: string): void {
    if (this.world.down.size < (this.six ? 2 : 1)) this.world.crash(nodeId)
  }

  async event(): Promise<void> {
    const { world, six, members, spares } = this
    const { random } = world
    const ignore = (): void => {}
    const because = { reason: 'a test' }
    const { set } = await world.record()
    const inSet = set.members.map(({ nodeId }) => nodeId)
    const member = this.#pick(inSet)
    const candidate = set.slots.find((slot) => slot.length === 2)?.[1]?.nodeId
    if (candidate !== undefined && random.float() < 0.2) {
      await world.sets.changePrimary(setName, { to: candidate, emergency: true }, because).catch(ignore)
      return
    }
    switch (random.integer(12)) {
      case 0:
        this.#crash(this.#pick([...members, ...spares]))
        break
      case 1:
        for (const nodeId of world.down) if (random.float() < 0.7) world.restart(nodeId)
        break
      case 2:
      case 3:
        this.#cut()
        break
      case 4:
        await world.sets.changePrimary(setName, { to: member }, because).catch(ignore)
        break
      case 5: {
        // Wanted is, as often as not, the one that is furthest behind.
        const index = (nodeId: string): number => world.host.node(nodeId).position.index
        const last = [...inSet].sort((a, b) => index(a) - index(b))[0] as string
        const to = this.#pick([{}, { to: member }, { to: last }])
        const primary = world.host.primary()?.nodeId
        if (primary !== undefined && random.float() < 0.6) this.#crash(primary)
        await world.sets.changePrimary(setName, { ...to, emergency: true }, because).catch(ignore)
        break
      }
      case 6:
      case 7: {
        const free = this.#pick([...spares, ...members].filter((each) => !inSet.includes(each)))
        const lost = inSet.find((each) => !world.isMeant(world.host.node(each), set))
        const change = { suspect: lost ?? member, candidate: free, mayReturn: random.float() < 0.5 }
        if (random.float() < 0.4) world.cut.add(`control ${this.#pick([change.suspect, free])}`)
        await world.changeMember(change).catch(ignore)
        break
      }
      case 8: {
        const open = await world.jobs.list({ unfinished: true })
        const job = open[random.integer(Math.max(1, open.length))]
        if (job !== undefined) await world.jobs.cancel(job.jobId, 'a person').catch(ignore)
        break
      }
      case 9: {
        const lost = set.members.filter(({ nodeId }) => !world.isMeant(world.host.node(nodeId), set))
        if (lost.length >= (six ? 2 : 1) || random.float() < 0.4) break
        world.wipe(member)
        this.wiped++
        break
      }
      default:
        if (this.#faulty?.crashed === true || random.float() < 0.3) await this.lead()
    }
  }

  /** Clients write to whoever believes to be primary. */
  async pass(): Promise<void> {
    const { world } = this
    const { random, time } = world
    const untilMs = time.nowMs + 50 + random.integer(1500)
    while (time.nowMs < untilMs) {
      if (random.float() < 0.7) world.writeSomewhere()
      await world.advance(60 + random.integer(120))
    }
  }

  /** Everything works again: then everything comes to its end, and everybody has everything. */
  async end(): Promise<readonly Job[]> {
    const { world } = this
    world.down.clear()
    world.cut.clear()
    world.loss = 0
    world.slow = 0
    world.again = 0
    world.latencyMs = 5
    const close = await world.lead({ tuning })
    await this.#rest()
    const rested = await world.record()
    world.audit.rested(rested)
    await this.#primary()
    await this.#repair()
    await world.write('the last')
    await world.advance(2000)
    const last = await world.record()
    world.audit.rested(last)
    const { set } = last
    for (const { nodeId } of set.members) {
      const node = world.host.node(nodeId)
      for (const write of world.audit.writes)
        if (!node.has(write)) throw new Error(`${nodeId} lacks the write at index ${write.index} in the end`)
    }
    const ended = await world.jobs.list()
    await world.time.until(close())
    await world.close()
    return ended
  }

  async #rest(): Promise<void> {
    const { world } = this
    for (let quiet = 0; quiet < 5; ) {
      await world.advance(1000)
      quiet = (await world.jobs.list({ unfinished: true })).length === 0 ? quiet + 1 : 0
      if (world.time.nowMs > 3_600_000) throw new Error('never at rest')
    }
  }

  async #primary(): Promise<void> {
    const { status, lastError } = await this.world.changePrimary({ emergency: true })
    if (status !== 'succeeded') throw new Error(`nobody becomes primary in the end: ${lastError?.message}`)
  }

  /** Whoever has lost its data gives its place to another. */
  async #repair(): Promise<void> {
    const { world } = this
    for (;;) {
      const { set } = await world.record()
      const suspect = set.members.find(({ nodeId }) => !world.isMeant(world.host.node(nodeId), set))?.nodeId
      if (suspect === undefined) return
      const free = [...this.spares, ...this.members].find((each) => set.member(each) === undefined)
      const job = await world.changeMember({ suspect, candidate: free as string })
      const { status, lastError } = await world.ended(job)
      await world.judge()
      if (status !== 'succeeded') throw new Error(`nobody takes a place in the end: ${lastError?.message}`)
    }
  }
}

/** A run of random changes, crashes, cuts, losses and cancellations; in the end everything works and nothing is lost. */
export async function runSets(seed: number, events: number, plant: () => void = () => {}): Promise<SetRun> {
  const run = new Run(seed)
  await run.begin()
  plant()
  for (let i = 0; i < events; i++) {
    await run.event()
    await run.pass()
  }
  const { audit } = run.world
  const ended = await run.end()
  const count = (type: string, how: (job: Job) => boolean): number =>
    ended.filter((job) => job.type === type && how(job)).length
  const done = ({ status }: Job): boolean => status === 'succeeded'
  return {
    acknowledged: audit.writes.length,
    planned: count('replica-set.primary', (job) => done(job) && / after /.test(job.outcome ?? '')),
    emergencies: count('replica-set.primary', done),
    members: count('replica-set.members', (job) => done(job) && /taken the place/.test(job.outcome ?? '')),
    undone: count('replica-set.members', (job) => /stays, epoch|is back and stays/.test(job.outcome ?? '')),
    passedOver: count('replica-set.primary', (job) => / did not begin/.test(job.outcome ?? '')),
    refused: ended.filter((job) => /is not changed:/.test(job.lastError?.message ?? '')).length,
    leaderCrashes: run.leaderCrashes,
    wiped: run.wiped,
  }
}
