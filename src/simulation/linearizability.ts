import { checkArray, checkObject } from '../core/arguments.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkOptions, integerOption } from '../core/options.ts'

/** An operation of a client, as it was seen from outside. */
export interface Operation<Input, Output> {
  /** Who called: for people. */
  readonly client: string
  /** What it asked for. */
  readonly input: Input
  /** What came back; undefined when the outcome is not known: it took effect at some time after the call, or never. */
  readonly output?: Output
  /** When it was called, by one clock for all clients. */
  readonly calledAt: number
  /** When its answer came. Not there when the outcome is not known. */
  readonly returnedAt?: number
}

/** What an object should do when operations come one after the other. States are compared by `key` and never changed. */
export interface SequentialModel<State, Input, Output> {
  /** The state before the first operation. */
  initial(): State
  /** The state after the operation, and what it should have returned. */
  step(
    state: State,
    input: Input,
  ): {
    /** Equal states have equal keys. */
    readonly state: State
    /** What the operation should have returned. */
    readonly output: Output
  }
  /** Equal for equal states. */
  key(state: State): string
  /** Whether an answer that was seen is the one expected. */
  same(seen: Output, expected: Output): boolean
  /**
   * Operations on different parts do not concern each other, so each part is judged alone (linearizability is local,
   * Herlihy and Wing 1990). Default: one part.
   */
  part?(input: Input): string
}

/** The verdict on a history. */
export interface LinearizabilityVerdict<Input, Output> {
  /** `undecided`: the search was given up after its limit of steps. */
  readonly result: 'linearizable' | 'broken' | 'undecided'
  /** The part that was broken or undecided. */
  readonly part?: string
  /** Of a broken part: the operations before which the search could not get, for people. */
  readonly stuck?: readonly Operation<Input, Output>[]
  /** States that were visited. */
  readonly steps: number
}

/** Options of {@link checkLinearizability}. */
export interface LinearizabilityOptions {
  /** States visited per part before it is given up. Default: 2,000,000. */
  readonly maximumSteps?: number
}

/**
 * Whether the operations can be put in an order that respects real time and in which the model gives every answer that
 * was seen: Wing and Gong's search (1993) with Lowe's memory of visited configurations (2017).
 *
 * @throws KeelsonError `INVALID_ARGUMENT` for an operation that returned before it was called
 */
export function checkLinearizability<State, Input, Output>(
  model: SequentialModel<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  options: LinearizabilityOptions = {},
): LinearizabilityVerdict<Input, Output> {
  checkObject(model, 'a sequential model', ['initial', 'step', 'key', 'same'])
  const { maximumSteps } = checkOptions<{ readonly maximumSteps: number }>('checkLinearizability', options, {
    maximumSteps: integerOption({ min: 1, fallback: 2_000_000 }),
  })
  checkArray(history, 'a history', Number.MAX_SAFE_INTEGER)
  const parts = new Map<string, Operation<Input, Output>[]>()
  for (const operation of history) {
    if (operation.returnedAt !== undefined && operation.returnedAt < operation.calledAt) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `an operation of ${operation.client} returned before it was called; take both times from one clock`,
      )
    }
    const part = model.part?.(operation.input) ?? ''
    const list = parts.get(part)
    if (list === undefined) parts.set(part, [operation])
    else list.push(operation)
  }
  let steps = 0
  let undecided: string | undefined
  for (const [part, operations] of parts) {
    const verdict = new Search(model, operations, maximumSteps).run()
    steps += verdict.steps
    if (verdict.result === 'broken') return { ...verdict, part, steps }
    if (verdict.result === 'undecided') undecided ??= part
  }
  return undecided === undefined
    ? { result: 'linearizable', steps }
    : { result: 'undecided', part: undecided, steps }
}

/** A call or a return, in a doubly linked list from which operations that have their place are taken out. */
interface Entry {
  readonly operation: number
  /** Of a call: its return. Not there when the outcome is not known. */
  readonly match: Entry | undefined
  readonly isCall: boolean
  previous: Entry | undefined
  next: Entry | undefined
}

/** A configuration on the way of the search: what can come next, and what was tried. */
interface Frame<State> {
  readonly state: State
  readonly candidates: readonly Entry[]
  next: number
  /** What led here. */
  readonly chosen: Entry | undefined
}

class Search<State, Input, Output> {
  readonly #model: SequentialModel<State, Input, Output>
  readonly #operations: readonly Operation<Input, Output>[]
  readonly #maximumSteps: number
  readonly #head: Entry = {
    operation: -1,
    match: undefined,
    isCall: false,
    previous: undefined,
    next: undefined,
  }
  readonly #taken: Uint32Array
  /** Of an operation of unknown outcome: the equal one that was called last before it, if there is one. */
  readonly #twins: Map<number, number> = new Map()
  /** Returns that are still in the list. */
  #open = 0

  constructor(
    model: SequentialModel<State, Input, Output>,
    operations: readonly Operation<Input, Output>[],
    maximumSteps: number,
  ) {
    this.#model = model
    this.#operations = operations
    this.#maximumSteps = maximumSteps
    this.#taken = new Uint32Array((operations.length + 31) >>> 5)
    this.#link()
    this.#findTwins()
  }

  run(): LinearizabilityVerdict<Input, Output> {
    const visited = new Set<string>()
    const initial = this.#model.initial()
    const frames: Frame<State>[] = [
      { state: initial, candidates: this.#candidates(), next: 0, chosen: undefined },
    ]
    let fewestOpen = Number.POSITIVE_INFINITY
    let stuck: readonly Entry[] = []
    let steps = 0
    while (this.#open > 0) {
      const frame = frames.at(-1)
      if (frame === undefined) {
        const operations = stuck.map(
          ({ operation }) => this.#operations[operation] as Operation<Input, Output>,
        )
        return { result: 'broken', stuck: operations, steps }
      }
      const entry = frame.candidates[frame.next++]
      if (entry === undefined) {
        if (this.#open < fewestOpen) {
          fewestOpen = this.#open
          stuck = frame.candidates
        }
        frames.pop()
        if (frame.chosen !== undefined) this.#putBack(frame.chosen)
        continue
      }
      const after = this.#stateAfter(frame.state, entry)
      if (after === undefined) continue
      this.#take(entry)
      const configuration = `${this.#taken.join()} ${this.#model.key(after.state)}`
      if (visited.has(configuration)) {
        this.#putBack(entry)
        continue
      }
      if (++steps > this.#maximumSteps) return { result: 'undecided', steps }
      visited.add(configuration)
      frames.push({ state: after.state, candidates: this.#candidates(), next: 0, chosen: entry })
    }
    return { result: 'linearizable', steps }
  }

  /** The state after an operation that may take its place now; undefined when it may not, or when it would change nothing. */
  #stateAfter(state: State, entry: Entry): { readonly state: State } | undefined {
    const operation = this.#operations[entry.operation] as Operation<Input, Output>
    const { state: after, output } = this.#model.step(state, operation.input)
    if (operation.returnedAt !== undefined) {
      return this.#model.same(operation.output as Output, output) ? { state: after } : undefined
    }
    // Of unknown outcome: where it shows no effect, it might as well never have happened.
    return this.#model.key(after) === this.#model.key(state) ? undefined : { state: after }
  }

  /**
   * Operations that began before the first return that is left: those that returned first, since those of unknown outcome
   * need no place. Of equal ones of unknown outcome only the first: it makes no difference which of them took effect.
   */
  #candidates(): Entry[] {
    const known: Entry[] = []
    const unknown: Entry[] = []
    for (let entry = this.#head.next; entry?.isCall; entry = entry.next) {
      if (entry.match !== undefined) known.push(entry)
      else {
        const twin = this.#twins.get(entry.operation)
        if (twin === undefined || this.#isTaken(twin)) unknown.push(entry)
      }
    }
    return known.concat(unknown)
  }

  #findTwins(): void {
    const last = new Map<string, number>()
    for (let entry = this.#head.next; entry !== undefined; entry = entry.next) {
      if (!entry.isCall || entry.match !== undefined) continue
      const { input } = this.#operations[entry.operation] as Operation<Input, Output>
      const key = JSON.stringify(input)
      const twin = last.get(key)
      if (twin !== undefined) this.#twins.set(entry.operation, twin)
      last.set(key, entry.operation)
    }
  }

  /** Calls and returns by time; at the same time calls first, which forbids the least. */
  #link(): void {
    const entries: { readonly entry: Entry; readonly time: number }[] = []
    this.#operations.forEach((operation, at) => {
      let match: Entry | undefined
      if (operation.returnedAt !== undefined) {
        match = { operation: at, match: undefined, isCall: false, previous: undefined, next: undefined }
        entries.push({ entry: match, time: operation.returnedAt })
        this.#open++
      }
      const call: Entry = { operation: at, match, isCall: true, previous: undefined, next: undefined }
      entries.push({ entry: call, time: operation.calledAt })
    })
    entries.sort((a, b) => a.time - b.time || Number(b.entry.isCall) - Number(a.entry.isCall))
    let previous = this.#head
    for (const { entry } of entries) {
      previous.next = entry
      entry.previous = previous
      previous = entry
    }
  }

  #isTaken(operation: number): boolean {
    return ((this.#taken[operation >>> 5] as number) & (1 << (operation & 31))) !== 0
  }

  #mark(operation: number, taken: boolean): void {
    const word = operation >>> 5
    const bit = 1 << (operation & 31)
    const before = this.#taken[word] as number
    this.#taken[word] = taken ? before | bit : before & ~bit
  }

  /** Gives an operation its place: it leaves the list. */
  #take(call: Entry): void {
    this.#mark(call.operation, true)
    unlink(call)
    if (call.match === undefined) return
    unlink(call.match)
    this.#open--
  }

  /** In the opposite order, so that each finds its neighbours as it left them. */
  #putBack(call: Entry): void {
    this.#mark(call.operation, false)
    if (call.match !== undefined) {
      relink(call.match)
      this.#open++
    }
    relink(call)
  }
}

function unlink(entry: Entry): void {
  const { previous, next } = entry
  if (previous !== undefined) previous.next = next
  if (next !== undefined) next.previous = previous
}

function relink(entry: Entry): void {
  if (entry.previous !== undefined) entry.previous.next = entry
  if (entry.next !== undefined) entry.next.previous = entry
}
