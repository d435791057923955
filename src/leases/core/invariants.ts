import { invariant } from '../../core/invariant.ts'

/** Who acts under which sequence. */
export interface LeaseActor {
  /** Name of the process that acts. */
  readonly holder: string
  /** Sequence under which it acts. */
  readonly sequence: number
}

interface Watched {
  /** Highest sequence in the store, and whose it is. */
  granted: LeaseActor | undefined
  installed: number
}

/**
 * Judges a run of leases by what happens, not by what anybody believes. Give it every event as it happens.
 *
 * Every method throws KeelsonError `INVARIANT_VIOLATED`.
 */
export class LeaseAudit {
  readonly #leases = new Map<string, Watched>()

  /** The store has a new holder. Sequences grow by one and never repeat. */
  granted(name: string, actor: LeaseActor): void {
    const lease = this.#lease(name)
    const last = lease.granted?.sequence ?? 0
    invariant(
      actor.sequence === last + 1,
      `'${name}': ${actor.holder} got sequence ${actor.sequence} after ${last}: a sequence was repeated or left out`,
    )
    lease.granted = actor
  }

  /** The resource installed a sequence. */
  installed(name: string, sequence: number): void {
    const lease = this.#lease(name)
    invariant(
      sequence >= lease.installed,
      `'${name}': sequence ${sequence} was installed after ${lease.installed}`,
    )
    lease.installed = sequence
  }

  /** The resource accepted an effect: no effect of an older sequence after a newer one is installed. */
  effect(name: string, actor: LeaseActor): void {
    const { installed, granted } = this.#lease(name)
    invariant(
      actor.sequence >= installed,
      `'${name}': an effect of ${actor.holder} under sequence ${actor.sequence} was accepted after ${installed} was installed`,
    )
    invariant(
      granted === undefined || actor.sequence !== granted.sequence || actor.holder === granted.holder,
      `'${name}': ${actor.holder} acts under sequence ${actor.sequence}, which is ${granted?.holder}'s`,
    )
  }

  /** Everybody who may act at one instant: at most one. */
  acting(name: string, actors: readonly LeaseActor[]): void {
    invariant(
      actors.length <= 1,
      `'${name}': several act at once: ${actors.map(({ holder, sequence }) => `${holder} (${sequence})`).join(', ')}`,
    )
  }

  /** Somebody may act at this instant: only while the store keeps its session. */
  deadline(name: string, actor: LeaseActor, sessionLives: boolean): void {
    invariant(
      sessionLives,
      `'${name}': ${actor.holder} acts under sequence ${actor.sequence} after the end of its session`,
    )
  }

  #lease(name: string): Watched {
    const known = this.#leases.get(name) ?? { granted: undefined, installed: 0 }
    this.#leases.set(name, known)
    return known
  }
}
