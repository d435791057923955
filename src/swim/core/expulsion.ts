import type { NodeId } from '../../model/ids.ts'

/**
 * Versions are counted in admissions of this many. The last version of an admission is never the member's own: others put it
 * there to expel the member, and only a version of the next admission overrules that.
 */
export const versionsInAdmission: number = 2 ** 32

/** True when a member is held dead or gone by this version because others expelled it. */
export function isExpulsion(version: number): boolean {
  return version % versionsInAdmission === versionsInAdmission - 1
}

/** The version that expels a member which is known at `version`. */
export function expulsionOf(version: number): number {
  return (admissionOf(version) + 1) * versionsInAdmission - 1
}

/** How often a member of this version was expelled before. */
export function admissionOf(version: number): number {
  return Math.floor(version / versionsInAdmission)
}

/** An accusation that turned out to be wrong: the member refuted it. */
interface Episode {
  readonly atMs: number
  readonly accusers: readonly NodeId[]
  readonly weight: number
}

/** To be held dead and come back counts twice: it took a member out of service, where a suspicion did not. */
const deathWeight = 2

/** What makes a member be expelled. */
export interface ExpulsionRule {
  /** So many accusations that were refuted, deaths counted twice; 0 for never. */
  readonly refutations: number
  /** Within this time. */
  readonly windowMs: number
}

/** Of so large a share of the cluster at most it is believed that it is at fault, and not the network. */
const maximumShare = 0.1
/** Episodes of one member that are remembered. */
const maximumEpisodes = 16
/** Members of whom episodes are remembered. */
const maximumWatched = 1_024
/** Members of whom it is remembered that one accuser accused them. */
const maximumAccused = 128
/** An accuser of more members than this share of the cluster is held to be at fault itself. */
const maximumAccusedShare = 0.02

/**
 * Tells members who cannot be reached reliably from those who are down. A member that hears only a part of what is sent to it is
 * accused by many and refutes each time: it never fails and never works (Rapid, Suresh et al., 2018, §2.1). Evidence is
 * what gossip brings to everybody: accusations by different members that were refuted within a short time.
 */
export class FlapEvidence {
  readonly #rule: ExpulsionRule
  readonly #episodes = new Map<NodeId, Episode[]>()
  /** Whom each accused, and when. */
  readonly #accused = new Map<NodeId, Map<NodeId, number>>()

  constructor(rule: ExpulsionRule) {
    this.#rule = rule
  }

  /** Notes that a member refuted what these accused it of. */
  refuted(nodeId: NodeId, accusers: readonly NodeId[], wasDead: boolean, nowMs: number): void {
    if (this.#rule.refutations === 0 || accusers.length === 0) return
    const episodes = this.#recent(nodeId, nowMs)
    episodes.push({ atMs: nowMs, accusers, weight: wasDead ? deathWeight : 1 })
    if (episodes.length > maximumEpisodes) episodes.shift()
    this.#episodes.delete(nodeId)
    this.#episodes.set(nodeId, episodes)
    trim(this.#episodes)
    for (const accuser of accusers) {
      const accused = this.#accused.get(accuser) ?? new Map<NodeId, number>()
      accused.delete(nodeId)
      accused.set(nodeId, nowMs)
      if (accused.size > maximumAccused) accused.delete(accused.keys().next().value as NodeId)
      this.#accused.delete(accuser)
      this.#accused.set(accuser, accused)
    }
    trim(this.#accused)
  }

  /** Refuted accusations within the window; one that had become a death counts twice. */
  count(nodeId: NodeId, nowMs: number): number {
    return this.#recent(nodeId, nowMs).reduce((sum, { weight }) => sum + weight, 0)
  }

  /** True when a member among `live` ones should be expelled, `expelled` being out already. */
  convicts(nodeId: NodeId, live: number, expelled: number, nowMs: number): boolean {
    const { refutations } = this.#rule
    if (refutations === 0) return false
    const episodes = this.#recent(nodeId, nowMs)
    if (this.count(nodeId, nowMs) < refutations) return false
    if (this.witnesses(episodes, live, nowMs) < Math.max(2, Math.min(3, live - 2))) return false
    return this.atFault(live, expelled, nowMs)
  }

  /** @internal Different accusers who do not accuse everybody. */
  witnesses(episodes: readonly Episode[], live: number, nowMs: number): number {
    const credible = new Set<NodeId>()
    for (const { accusers } of episodes) {
      for (const accuser of accusers) if (this.isCredible(accuser, live, nowMs)) credible.add(accuser)
    }
    return credible.size
  }

  /** @internal False for an accuser of so many that the fault is rather its own. */
  isCredible(accuser: NodeId, live: number, nowMs: number): boolean {
    const most = Math.max(2, live * maximumAccusedShare)
    let accused = 0
    for (const atMs of this.#accused.get(accuser)?.values() ?? []) {
      if (atMs > nowMs - this.#rule.windowMs && ++accused > most) return false
    }
    return true
  }

  /**
   * @internal When many are accused at once, by members who do not accuse everybody, it is the network that is bad, and to expel
   * them would make it worse.
   */
  atFault(live: number, expelled: number, nowMs: number): boolean {
    const allowed = Math.max(1, Math.floor(live * maximumShare))
    // Hundreds may be watched, and the same few accuse them.
    const known = new Map<NodeId, boolean>()
    const credible = (accuser: NodeId): boolean => {
      const answer = known.get(accuser) ?? this.isCredible(accuser, live, nowMs)
      known.set(accuser, answer)
      return answer
    }
    let accused = expelled
    for (const episodes of this.#episodes.values()) {
      const credibly = episodes.some(
        ({ atMs, accusers }) => atMs > nowMs - this.#rule.windowMs && accusers.some(credible),
      )
      if (credibly && ++accused > allowed) return false
    }
    return true
  }

  /** Forgets a member, because it is out. */
  forget(nodeId: NodeId): void {
    this.#episodes.delete(nodeId)
  }

  clone(): FlapEvidence {
    const copy = new FlapEvidence(this.#rule)
    for (const [nodeId, episodes] of this.#episodes) copy.#episodes.set(nodeId, episodes.slice())
    for (const [accuser, accused] of this.#accused) copy.#accused.set(accuser, new Map(accused))
    return copy
  }

  #recent(nodeId: NodeId, nowMs: number): Episode[] {
    const episodes = this.#episodes.get(nodeId) ?? []
    while (episodes.length > 0 && (episodes[0] as Episode).atMs <= nowMs - this.#rule.windowMs)
      episodes.shift()
    return episodes
  }
}

/** Forgets whoever was heard of the longest ago. */
function trim(map: Map<NodeId, unknown>): void {
  if (map.size > maximumWatched) map.delete(map.keys().next().value as NodeId)
}

/** Pings that a member which was expelled looks back on, and how many of them must have been answered. */
const trialPings = 40
const trialAnswers = 32

/**
 * A member that was expelled tries its paths until they are good: it comes back when it was out for its time and most of its
 * last pings were answered.
 */
export class Probation {
  readonly startedMs: number
  readonly #untilMs: number
  readonly #answers: boolean[] = []

  constructor(startedMs: number, untilMs: number) {
    this.startedMs = startedMs
    this.#untilMs = untilMs
  }

  /** Notes whether a ping was answered. */
  note(answered: boolean): void {
    this.#answers.push(answered)
    if (this.#answers.length > trialPings) this.#answers.shift()
  }

  /** True when the member may come back. */
  passed(nowMs: number): boolean {
    if (nowMs < this.#untilMs || this.#answers.length < trialPings) return false
    return this.#answers.filter((answered) => answered).length >= trialAnswers
  }

  /** Until when it is out at least. */
  get untilMs(): number {
    return this.#untilMs
  }

  clone(): Probation {
    const copy = new Probation(this.startedMs, this.#untilMs)
    copy.#answers.push(...this.#answers)
    return copy
  }
}
