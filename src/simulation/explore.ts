import { KeelsonError } from '../core/errors.ts'
import { invariant } from '../core/invariant.ts'
import { checkOptions, functionOption, integerOption, optional } from '../core/options.ts'
import { FingerprintSet } from './fingerprint-set.ts'
import { StateHash } from './state-hash.ts'

/** What {@link explore} walks through: states, and what can happen in each. Deterministic, and without memory of its own. */
export interface ExplorableModel<State, Action> {
  /** Where everything begins. What it throws is a violation. */
  initial(): State
  /**
   * Everything that can happen in a state, always in the same order. None where the model's bounds end, too.
   */
  actions(state: State): Iterable<Action>
  /** The state after an action; `state` itself stays as it is. What it throws is a violation. */
  next(state: State, action: Action): State
  /**
   * Equal for states from which the same can happen, as text or as 32-bit words. To use a symmetry, give states that are
   * mirror images of each other one fingerprint: the least of all their images' is one. The array may be used again.
   */
  fingerprint(state: State): string | Uint32Array
  /** Judges a state when it is first seen. What it throws is a violation. */
  check?(state: State): void
  /** A state as 32-bit words, in which it is kept from when it is seen until it is looked at: much smaller than an object. */
  pack?(state: State): ArrayLike<number>
  /** The inverse of `pack`; both or none. */
  unpack?(words: ArrayLike<number>): State
}

/** How far {@link explore} goes. */
export interface ExploreOptions {
  /** Ends when so many different states were seen. */
  readonly maximumStates?: number
  /** Ends with the states that are so many actions away from the first. */
  readonly maximumDepth?: number
  /**
   * Bits of each state's fingerprint that are kept. Two different states with equal ones are taken for one, and what
   * lies behind the second is missed: see {@link Exploration.collisionProbability}.
   */
  readonly fingerprintBits?: 64 | 128
  /** Asked now and then; ends when it returns true. For limits of time and signals. */
  readonly stop?: (() => boolean) | undefined
  /** Told each time that all states of one distance were seen. */
  readonly onDepth?: ((progress: ExplorationProgress) => void) | undefined
}

/** Defaults of {@link ExploreOptions}. */
export const exploreDefaults: {
  /** See {@link ExploreOptions.maximumStates}. */
  readonly maximumStates: number
  /** See {@link ExploreOptions.maximumDepth}. */
  readonly maximumDepth: number
  /** See {@link ExploreOptions.fingerprintBits}. */
  readonly fingerprintBits: 64 | 128
} = Object.freeze({ maximumStates: 1_000_000_000, maximumDepth: 1_000_000, fingerprintBits: 64 })

/** How far a search has come. */
export interface ExplorationProgress {
  /** Different states that were seen, mirror images counted once. */
  readonly states: number
  /** Actions that were tried. */
  readonly transitions: number
  /** The largest distance from the first state of which all states were seen. */
  readonly depth: number
  /** States that were seen and not looked beyond yet. */
  readonly frontier: number
}

/** One step on the way to a violation. */
export interface ExplorationStep<State, Action> {
  /** What happened. */
  readonly action: Action
  /** The state after it; undefined where the action itself was the violation. */
  readonly state: State | undefined
}

/** What broke, and how it came to that. */
export interface Violation<State, Action> {
  /** What the model threw. */
  readonly error: unknown
  /** From the first state on; empty where that is the violation. */
  readonly path: readonly ExplorationStep<State, Action>[]
}

/** What {@link explore} found. */
export interface Exploration<State, Action> extends ExplorationProgress {
  /** Every state that can be reached was seen, and none violates anything. */
  readonly complete: boolean
  /** Why it ended. */
  readonly ended: 'all was seen' | 'violation' | 'maximumStates' | 'maximumDepth' | 'stopped'
  /** The first violation that was found, on one of the shortest ways. */
  readonly violation: Violation<State, Action> | undefined
  /** A bound on the probability that any two of the states were taken for one: n² / 2^(bits + 1). */
  readonly collisionProbability: number
}

const mostActions = 0xffff
/** How often `stop` is asked, in states. */
const stopInterval = 256

/**
 * Visits every state that can be reached, nearest first, each once, and stops at the first violation: the way to it is one
 * of the shortest. Where a simulation tries some interleavings of a large system, this tries all of a small one.
 *
 * Kept of a state that was looked at: its hash (8 or 16 bytes a slot), the state that it was first reached from and the
 * number of the action (6 bytes). The states themselves are kept from when they are seen until they are looked at, packed
 * where the model can do that.
 *
 * ```ts
 * const result = explore(model, { maximumStates: 1_000_000 })
 * for (const { action } of result.violation?.path ?? []) console.log(action)
 * ```
 *
 * @throws KeelsonError `INVALID_OPTION`; `LIMIT_EXCEEDED` for a state with more than 65,535 actions
 */
export function explore<State, Action>(
  model: ExplorableModel<State, Action>,
  options: ExploreOptions = {},
): Exploration<State, Action> {
  return new Search(model, options).run()
}

type Ended = Exploration<unknown, unknown>['ended']

class Search<State, Action> {
  readonly #model: ExplorableModel<State, Action>
  readonly #options: ExploreOptions & typeof exploreDefaults
  readonly #seen: FingerprintSet
  readonly #origins = new Origins()
  readonly #hash = new StateHash()
  readonly #words = new Uint32Array(4)
  /** States to look at, in the order in which they were seen; the first has the number `#first`, `#looked` are done. */
  #level: Waiting<State>
  #first = 0
  #looked = 0
  #next: Waiting<State>
  #transitions = 0
  #depth = 0
  #violation: Exploration<State, Action>['violation'] = undefined

  constructor(model: ExplorableModel<State, Action>, options: ExploreOptions) {
    this.#model = model
    const d = exploreDefaults
    this.#options = checkOptions<ExploreOptions>('explore', options, {
      maximumStates: integerOption({ min: 1, max: 0xffff_ffff, fallback: d.maximumStates }),
      maximumDepth: integerOption({ min: 0, fallback: d.maximumDepth }),
      fingerprintBits: (value, name) => {
        if (value === undefined) return d.fingerprintBits
        if (value === 64 || value === 128) return value
        throw new KeelsonError('INVALID_OPTION', `${name} must be 64 or 128`)
      },
      stop: optional(functionOption<() => boolean>()),
      onDepth: optional(functionOption<(progress: ExplorationProgress) => void>()),
    }) as ExploreOptions & typeof exploreDefaults
    this.#seen = new FingerprintSet(this.#options.fingerprintBits)
    this.#level = waiting(model)
    this.#next = waiting(model)
  }

  run(): Exploration<State, Action> {
    const ended = this.#begin() ?? this.#search()
    const states = this.#seen.size
    return {
      ...this.#progress(),
      complete: ended === 'all was seen',
      ended,
      violation: this.#violation,
      collisionProbability: Math.min(1, states ** 2 / 2 ** (this.#options.fingerprintBits + 1)),
    }
  }

  #progress(): ExplorationProgress {
    const frontier = this.#level.length - this.#looked + this.#next.length
    return { states: this.#seen.size, transitions: this.#transitions, depth: this.#depth, frontier }
  }

  #begin(): Ended | undefined {
    try {
      const initial = this.#model.initial()
      this.#isNew(initial)
      this.#model.check?.(initial)
      this.#level.add(initial)
      return undefined
    } catch (error) {
      this.#violation = { error, path: [] }
      return 'violation'
    }
  }

  #search(): Ended {
    for (;;) {
      if (this.#depth >= this.#options.maximumDepth) return 'maximumDepth'
      const ended = this.#lookAtLevel()
      if (ended !== undefined) return ended
      this.#first += this.#level.length
      this.#looked = 0
      this.#level = this.#next
      this.#next = waiting(this.#model)
      if (this.#level.length === 0) return 'all was seen'
      this.#depth++
      this.#options.onDepth?.(this.#progress())
    }
  }

  #lookAtLevel(): Ended | undefined {
    const { stop, maximumStates } = this.#options
    while (this.#looked < this.#level.length) {
      if (this.#looked % stopInterval === 0 && stop?.() === true) return 'stopped'
      const number = this.#looked++
      const ended = this.#lookBeyond(this.#level.take(), this.#first + number)
      if (ended !== undefined) return ended
      if (this.#seen.size >= maximumStates) return 'maximumStates'
    }
    return undefined
  }

  #lookBeyond(state: State, number: number): Ended | undefined {
    let ordinal = 0
    for (const action of this.#model.actions(state)) {
      if (ordinal > mostActions) {
        throw new KeelsonError('LIMIT_EXCEEDED', `a state has more than ${mostActions} actions`)
      }
      this.#transitions++
      let next: State | undefined
      try {
        next = this.#model.next(state, action)
        if (this.#isNew(next)) {
          this.#origins.add(number, ordinal)
          this.#model.check?.(next)
          this.#next.add(next)
        }
      } catch (error) {
        this.#violation = { error, path: [...this.#wayTo(number), { action, state: next }] }
        return 'violation'
      }
      ordinal++
    }
    return undefined
  }

  #isNew(state: State): boolean {
    const fingerprint = this.#model.fingerprint(state)
    const hash = this.#hash.reset()
    if (typeof fingerprint === 'string') hash.text(fingerprint)
    else for (const word of fingerprint) hash.word(word)
    hash.digest(this.#words)
    return this.#seen.add(this.#words)
  }

  /** The states were not kept, so the way is walked again from the first one. */
  #wayTo(number: number): ExplorationStep<State, Action>[] {
    const ordinals: number[] = []
    for (let at = number; at !== 0; at = this.#origins.before(at)) ordinals.push(this.#origins.ordinal(at))
    const path: ExplorationStep<State, Action>[] = []
    let state = this.#model.initial()
    for (const ordinal of ordinals.reverse()) {
      const action = [...this.#model.actions(state)][ordinal]
      invariant(action !== undefined, 'a model offers the same actions each time')
      state = this.#model.next(state, action)
      path.push({ action, state })
    }
    return path
  }
}

/** States in the order in which they were added. Each is taken once, in that order, and not kept any longer. */
interface Waiting<State> {
  readonly length: number
  add(state: State): void
  take(): State
}

function waiting<State, Action>(model: ExplorableModel<State, Action>): Waiting<State> {
  return model.pack === undefined ? new WaitingObjects() : new WaitingWords(model)
}

class WaitingObjects<State> implements Waiting<State> {
  readonly #states: (State | undefined)[] = []
  #taken = 0

  get length(): number {
    return this.#states.length
  }

  add(state: State): void {
    this.#states.push(state)
  }

  take(): State {
    const state = this.#states[this.#taken] as State
    this.#states[this.#taken++] = undefined
    return state
  }
}

/** Packed states one after the other, each after its number of words, in chunks that are let go when they were read. */
class WaitingWords<State, Action> implements Waiting<State> {
  readonly #model: ExplorableModel<State, Action>
  readonly #chunks: Uint32Array[] = []
  #length = 0
  /** Where the next state is written: in the last chunk. */
  #writeAt = chunkSize
  #reading = 0
  #readAt = 0

  constructor(model: ExplorableModel<State, Action>) {
    this.#model = model
  }

  get length(): number {
    return this.#length
  }

  add(state: State): void {
    const words = this.#model.pack?.(state) ?? []
    if (this.#writeAt + words.length + 1 > (this.#chunks.at(-1)?.length ?? 0)) {
      this.#chunks.push(new Uint32Array(Math.max(chunkSize, words.length + 1)))
      this.#writeAt = 0
    }
    const chunk = this.#chunks.at(-1) as Uint32Array
    chunk[this.#writeAt] = words.length + 1
    chunk.set(words, this.#writeAt + 1)
    this.#writeAt += words.length + 1
    this.#length++
  }

  take(): State {
    let chunk = this.#chunks[this.#reading] as Uint32Array
    // No state is written as 0, so that is where a chunk ends early.
    if (this.#readAt >= chunk.length || chunk[this.#readAt] === 0) {
      this.#chunks[this.#reading++] = new Uint32Array(0)
      this.#readAt = 0
      chunk = this.#chunks[this.#reading] as Uint32Array
    }
    const from = this.#readAt + 1
    this.#readAt += chunk[this.#readAt] as number
    return this.#model.unpack?.(chunk.subarray(from, this.#readAt)) as State
  }
}

const chunkBits = 16
const chunkSize = 1 << chunkBits

/** From which state, by which of its actions, each state was first reached. States are numbered as they are seen, from 0. */
class Origins {
  readonly #before: Uint32Array[] = []
  readonly #ordinals: Uint16Array[] = []
  /** The first state comes from nowhere. */
  #length = 1

  add(before: number, ordinal: number): void {
    const chunk = this.#length >>> chunkBits
    if (this.#before.length <= chunk) {
      this.#before.push(new Uint32Array(chunkSize))
      this.#ordinals.push(new Uint16Array(chunkSize))
    }
    const at = this.#length % chunkSize
    ;(this.#before[chunk] as Uint32Array)[at] = before
    ;(this.#ordinals[chunk] as Uint16Array)[at] = ordinal
    this.#length++
  }

  before(number: number): number {
    return (this.#before[number >>> chunkBits] as Uint32Array)[number % chunkSize] as number
  }

  ordinal(number: number): number {
    return (this.#ordinals[number >>> chunkBits] as Uint16Array)[number % chunkSize] as number
  }
}
