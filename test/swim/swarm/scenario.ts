import { between, chance, pick, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import { drawSettings, quietMs, type Settings, shortestSuspicionMs } from './settings.ts'
import { type Alteration, Swarm } from './swarm.ts'

export interface ScenarioOptions {
  readonly seed: number
  readonly alter?: Alteration | undefined
  /** Hears of every event, for a trace. */
  readonly onLine?: (line: string) => void
}

/** A random run under way. */
class Scenario {
  readonly settings: Settings
  readonly swarm: Swarm
  readonly random: SeededRandom
  readonly onLine: ((line: string) => void) | undefined
  #told = 0

  constructor({ seed, alter, onLine }: ScenarioOptions, settings: Settings, random: SeededRandom) {
    this.settings = settings
    this.random = random
    this.onLine = onLine
    const { tuning, streams, streamedViewMembers, coordinates } = settings
    this.swarm = new Swarm({
      seed,
      tuning,
      alter,
      decodeEvery: 4,
      core: { coordinates, streamPacketBytes: streams ? 60_000 : 0, streamedViewMembers },
      ...(onLine === undefined
        ? {}
        : {
            onEvent: ({ type, member }, { nodeId }, atMs) =>
              onLine(
                `${atMs.toFixed(1)} ${nodeId} ${type} ${member.nodeId} ${member.version} ${member.state}`,
              ),
          }),
    })
  }

  start(nodeId: string, seeds: readonly string[]): void {
    const { drift, older } = this.settings
    const core =
      older > 0 && chance(this.random, older) ? { protocols: { minimum: 2, maximum: 2 } } : undefined
    const rate = 1 + between(this.random, -drift, drift)
    const offsetMs = drift > 0 ? this.random.float() * 1e6 : 0
    this.swarm.start(nodeId, seeds, { rate, offsetMs, metadata: this.#metadata(), core })
  }

  form(): void {
    const { swarm, settings, random } = this
    this.start('n0', [])
    const seeds = [swarm.core('n0').self.address]
    for (let i = 1; i < settings.size; i++) {
      swarm.at(between(random, 0, 1_000), () => this.start(`n${i}`, seeds))
    }
    swarm.run(1_000 + settings.tuning.syncIntervalMs * 4)
  }

  /** On a healthy network nothing is lost, not even when a member is held up or accused without a reason. */
  beWell(): void {
    const { swarm, random, settings } = this
    swarm.invariants.healthy = true
    const { probeIntervalMs } = settings.tuning
    const shortMs = Math.min(shortestSuspicionMs(settings) * 0.4, 3_000)
    swarm.pause(pick(random, swarm.running), shortMs)
    swarm.run(shortMs + probeIntervalMs * 2)
    this.hint()
    swarm.run(probeIntervalMs * 4)
    const speaker = pick(random, swarm.running)
    this.#change(speaker, random.bytes(20))
    swarm.run(3_000)
    swarm.invariants.checkSpread(swarm.runningCores(), speaker)
  }

  /**
   * A second process starts under a name that is in use. Most know the first one; a few, who were cut off with the newcomer for
   * long enough, know it as the one that has the name.
   */
  twins(): void {
    const { swarm, settings, onLine } = this
    const { tuning } = settings
    const random = this.random.child('twins')
    if (settings.size < 4) return
    swarm.invariants.healthy = false
    const name = pick(random, swarm.running.slice(2))
    const { core: first, index } = swarm.process(name)
    const others = shuffled(
      random,
      swarm.running.filter((nodeId) => nodeId !== name),
    )
    // A minority among all, and among any fifteen of many.
    const few = others.length > 15 ? Math.floor(others.length / 8) : Math.ceil(others.length / 2) - 1
    const misled = others.slice(0, chance(random, 0.5) ? random.integer(few + 1) : 0)
    const key = `${name}-again`
    const newcomer = swarm.nodeIds.length
    // A copied configuration: the only address that it has is that of its namesake, and nobody else hears of it.
    const copied = misled.length === 0 && chance(random.child('copied'), 0.4)
    const seeds = [swarm.process(copied ? name : (misled[0] ?? 'n0')).address]
    const second = swarm.start(name, seeds, {
      key,
      incarnation: chance(random, 0.5) ? first.self.incarnation - 1 : 1_000 + random.integer(1_000),
      metadata: random.bytes(random.integer(40)),
    })
    if (misled.length > 0) {
      const side = [newcomer, ...misled.map((nodeId) => swarm.process(nodeId).index)]
      const rest = [index, ...others.slice(misled.length).map((nodeId) => swarm.process(nodeId).index)]
      swarm.network.partition(side, rest)
      swarm.run(tuning.probeIntervalMs * between(random, 40, 60) + shortestSuspicionMs(settings))
      swarm.network.partition()
    }
    const { faults } = swarm.network
    faults.loss = chance(random, 0.5) ? random.float() * 0.15 : 0
    faults.duplication = chance(random, 0.3) ? random.float() * 0.3 : 0
    faults.reordering = chance(random, 0.3) ? random.float() * 0.3 : 0
    faults.holdMs = between(random, 10, 500)
    onLine?.(`${swarm.nowMs.toFixed(1)} twins of ${name}, ${misled.length} of ${others.length} misled`)
    const meetingMs =
      tuning.reconnectIntervalMs * 8 + tuning.syncIntervalMs * 6 + tuning.probeIntervalMs * 100
    swarm.runUntil(() => first.silent || second.silent, meetingMs, 500)
    swarm.run(tuning.probeIntervalMs * 5)
    swarm.invariants.checkTwins(first, second)
    swarm.network.heal()
    swarm.run(tuning.probeIntervalMs * 5)
    swarm.stop(key)
  }

  /** Somebody says that it lost its connection to somebody. */
  hint(): void {
    const [observer, subject] = shuffled(this.random, this.swarm.running)
    if (observer === undefined || subject === undefined) return
    this.swarm.input(observer, (core, nowMs) => core.suspectLocally(subject, nowMs))
  }

  /** The network turns bad, each in its own way. */
  disturb(): void {
    const { swarm, random } = this
    const { faults } = swarm.network
    swarm.invariants.healthy = false
    faults.loss = chance(random, 0.5) ? random.float() * 0.3 : 0
    faults.duplication = chance(random, 0.5) ? random.float() * 0.3 : 0
    faults.reordering = chance(random, 0.5) ? random.float() * 0.3 : 0
    faults.holdMs = between(random, 10, 2_000)
    faults.maximumDelayMs = chance(random, 0.5) ? between(random, 2, 300) : 2
  }

  act(): void {
    const { swarm, random } = this
    const seeds = ['n0', 'n1'].map((nodeId) => swarm.process(nodeId).address)
    const indexOf = (nodeId: string): number => swarm.process(nodeId).index
    // Somebody who is told of all this must stay.
    const mortal = swarm.running.slice(2).filter((nodeId) => !swarm.core(nodeId).membership.voice.leaving)
    const acts: readonly (() => void)[] = [
      () => {
        if (mortal.length > 1) swarm.crash(pick(random, mortal))
      },
      () => {
        swarm.pause(pick(random, swarm.running), between(random, 500, 20_000))
      },
      () => {
        const mixed = shuffled(random, swarm.nodeIds)
        const cut = 1 + random.integer(mixed.length - 1)
        const sides = [mixed.slice(0, cut).map(indexOf), mixed.slice(cut).map(indexOf)] as const
        if (chance(random, 0.5)) swarm.network.partition(...sides)
        else swarm.network.partitionOneWay(...sides)
        swarm.at(between(random, 5_000, 60_000), () => swarm.network.partition())
      },
      () => {
        const gone = swarm.nodeIds.filter((nodeId) => !swarm.process(nodeId).alive)
        if (gone.length > 0) this.start(pick(random, gone), seeds)
      },
      () => {
        if (mortal.length > 2) swarm.leave(pick(random, mortal))
      },
      () => {
        const nodeId = pick(random, swarm.running)
        this.#change(nodeId, this.#metadata())
      },
      () => this.hint(),
      () => {
        if (mortal.length < 2) return
        // So fast that nobody notices: what the life before said is believed until this one says more.
        const nodeId = pick(random, mortal)
        swarm.crash(nodeId)
        this.start(nodeId, seeds)
      },
      () => this.start(`x${random.integer(5)}-${random.integer(1_000)}`, seeds),
      () => {
        const loss = chance(random, 0.5) ? swarm.network.incomingLoss : swarm.network.outgoingLoss
        loss.set(indexOf(pick(random, swarm.running)), between(random, 0.5, 0.95))
      },
      () => {
        const [from, to] = shuffled(random, swarm.running)
        if (from !== undefined && to !== undefined) swarm.network.loseLink(indexOf(from), indexOf(to), 1)
      },
      () => this.tell(pick(random, swarm.running)),
      () => {
        if (mortal.length < 4) return
        const nodeId = pick(random, mortal)
        swarm.input('n0', (core, nowMs) => {
          if (core.remove(nodeId, nowMs)) swarm.invariants.setFate(nodeId, 'removed')
        })
      },
    ]
    pick(random, acts)()
  }

  /** Somebody tells all something; the name under which it did. */
  tell(nodeId: string): string {
    const name = `news-${this.#told++}`
    const payload = this.random.bytes(8)
    this.swarm.input(nodeId, (core, nowMs) => {
      if (!core.membership.voice.leaving) core.tell(name, payload, nowMs)
    })
    return name
  }

  /** Somebody says something else of itself, unless it is on its way out. */
  #change(nodeId: string, metadata: Uint8Array): void {
    this.swarm.input(nodeId, (core, nowMs) => {
      if (!core.membership.voice.leaving) core.setMetadata(metadata, nowMs)
    })
  }

  /** Who is to be heard of at the end: everybody that runs and was not told to go. */
  present(): string[] {
    const { swarm } = this
    return swarm.running.filter((nodeId) => !swarm.core(nodeId).membership.voice.leaving)
  }

  #metadata(): Uint8Array {
    const long = chance(this.random, 0.15)
    return this.random.bytes(long ? 513 + this.random.integer(4_000) : this.random.integer(40))
  }
}

/**
 * A random run: a cluster of a drawn size and tuning forms, suffers a drawn mixture of faults, and is then left alone. The
 * invariants are checked after every input, and the views at the end.
 */
export function runScenario(options: ScenarioOptions): Swarm {
  const random = new Swarm({ seed: options.seed }).random.child('scenario')
  const scenario = new Scenario(options, drawSettings(random.child('settings')), random)
  const { swarm, settings } = scenario
  scenario.form()
  scenario.beWell()
  if (chance(random.child('twins?'), 0.35)) scenario.twins()
  scenario.disturb()
  const listener = random.child('listener')
  const listens = chance(listener, 0.5)
  if (listens) swarm.listen()
  for (let i = 4 + random.integer(12); i > 0; i--) {
    swarm.run(between(random, 100, settings.stepMs))
    scenario.act()
    if (listens) for (let j = listener.integer(20); j > 0; j--) swarm.replay(listener)
  }
  swarm.run(60_000 * random.float())
  swarm.network.heal()
  // Who was removed and still runs has heard of it by now, or will; the operator stops it in any case.
  for (const nodeId of swarm.running) {
    if (swarm.core(nodeId).membership.voice.state === 'removed') swarm.crash(nodeId)
  }
  swarm.run(quietMs(settings))
  for (const nodeId of swarm.running) {
    if (swarm.core(nodeId).membership.voice.state !== 'removed') continue
    swarm.crash(nodeId)
    swarm.invariants.setFate(nodeId, 'removed')
  }
  scenario.beWell()
  // Who is leaving, and has not stopped yet, tells nothing and need not be told.
  const present = scenario.present()
  const teller = pick(random, present)
  const listeners = present.map((nodeId) => swarm.core(nodeId))
  const name = scenario.tell(teller)
  swarm.run(settings.tuning.syncIntervalMs * 6 * (settings.size > 32 ? 3 : 1))
  swarm.invariants.checkTold(listeners, name)
  swarm.checkQuiet()
  return swarm
}

/** A random cluster in which a second process starts under a name that is in use, and nothing else. */
export function runTwins(options: ScenarioOptions): void {
  const random = new Swarm({ seed: options.seed }).random.child('scenario')
  const scenario = new Scenario(options, drawSettings(random.child('settings')), random)
  scenario.form()
  scenario.twins()
  scenario.swarm.run(scenario.settings.tuning.syncIntervalMs * 8)
  scenario.swarm.checkQuiet()
}
