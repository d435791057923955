import { KeelsonError } from '../core/errors.ts'

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
  const parts = new Map<string, Operation<Input, Output>[]>()
  for (const operation of history) {
    if (operation.returnedAt !== undefined && operation.returnedAt < operation.calledAt) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `an operation of ${operation.client} returned before it was called`,
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
    const verdict = new Search(model, operations, options.maximumSteps ?? 2_000_000).run()
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

interface Placed<State> {
  readonly entry: Entry
  readonly state: State
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
  /** Returns that are still in the list. */
  #open = 0
  #fewestOpen = Number.POSITIVE_INFINITY
  #stuck: number[] = []

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
  }

  run(): LinearizabilityVerdict<Input, Output> {
    const visited = new Set<string>()
    const placed: Placed<State>[] = []
    let state = this.#model.initial()
    let entry = this.#head.next
    let steps = 0
    while (this.#open > 0) {
      if (entry?.isCall) {
        const operation = this.#operations[entry.operation] as Operation<Input, Output>
        const { state: after, output } = this.#model.step(state, operation.input)
        const fits =
          operation.returnedAt === undefined || this.#model.same(operation.output as Output, output)
        if (fits) {
          this.#mark(entry.operation, true)
          const configuration = `${this.#taken.join()} ${this.#model.key(after)}`
          if (!visited.has(configuration)) {
            if (++steps > this.#maximumSteps) return { result: 'undecided', steps }
            visited.add(configuration)
            placed.push({ entry, state })
            state = after
            this.#remove(entry)
            entry = this.#head.next
            continue
          }
          this.#mark(entry.operation, false)
        }
        entry = entry.next
        continue
      }
      // A return whose call has no place yet, or the end of the list: the last choice was wrong.
      if (this.#open < this.#fewestOpen) {
        this.#fewestOpen = this.#open
        this.#stuck = this.#concurrent()
      }
      const last = placed.pop()
      if (last === undefined) {
        const stuck = this.#stuck.map((at) => this.#operations[at] as Operation<Input, Output>)
        return { result: 'broken', stuck, steps }
      }
      state = last.state
      this.#mark(last.entry.operation, false)
      this.#restore(last.entry)
      entry = last.entry.next
    }
    return { result: 'linearizable', steps }
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

  /** Operations before the first return that is left. */
  #concurrent(): number[] {
    const out: number[] = []
    for (let entry = this.#head.next; entry !== undefined; entry = entry.next) {
      if (!entry.isCall) break
      out.push(entry.operation)
    }
    return out
  }

  #mark(operation: number, taken: boolean): void {
    const word = operation >>> 5
    const bit = 1 << (operation & 31)
    const before = this.#taken[word] as number
    this.#taken[word] = taken ? before | bit : before & ~bit
  }

  #remove(call: Entry): void {
    unlink(call)
    if (call.match === undefined) return
    unlink(call.match)
    this.#open--
  }

  /** In the opposite order, so that each finds its neighbours as it left them. */
  #restore(call: Entry): void {
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
