import type { SequentialModel } from './linearizability.ts'

/** An operation on one cell of a map; values are strings, a missing one is undefined. */
export type MapInput =
  | {
      /** Reads a cell. */
      readonly type: 'get'
      /** The cell. */
      readonly key: string
    }
  | {
      /** Writes a cell. */
      readonly type: 'put'
      /** The cell. */
      readonly key: string
      /** Its new value. */
      readonly value: string
    }
  | {
      /** Empties a cell. */
      readonly type: 'delete'
      /** The cell. */
      readonly key: string
    }
  | {
      /** Writes a cell if it holds what is expected. */
      readonly type: 'cas'
      /** The cell. */
      readonly key: string
      /** What it must hold; undefined for nothing. */
      readonly expected: string | undefined
      /** Its new value. */
      readonly value: string
    }

/** Of `get` the value, of `cas` whether it took effect, of the others undefined. */
export type MapOutput = string | boolean | undefined

/** A map with compare-and-set, each key a register of its own. */
export const mapModel: SequentialModel<string | undefined, MapInput, MapOutput> = Object.freeze({
  initial: (): string | undefined => undefined,
  step: (
    state: string | undefined,
    input: MapInput,
  ): { readonly state: string | undefined; readonly output: MapOutput } => {
    switch (input.type) {
      case 'get':
        return { state, output: state }
      case 'put':
        return { state: input.value, output: undefined }
      case 'delete':
        return { state: undefined, output: undefined }
      case 'cas':
        return state === input.expected ? { state: input.value, output: true } : { state, output: false }
    }
  },
  key: (state: string | undefined): string => (state === undefined ? '-' : `=${state}`),
  same: (seen: MapOutput, expected: MapOutput): boolean => seen === expected,
  part: (input: MapInput): string => input.key,
})

/** An operation on one of many counters; `amount` 0 reads. */
export interface CounterInput {
  /** The counter. */
  readonly name: string
  /** What is added to it; 0 reads. */
  readonly amount: number
}

/** Counters by name; each operation returns the sum after it. */
export const counterModel: SequentialModel<number, CounterInput, number> = Object.freeze({
  initial: (): number => 0,
  step: (state: number, input: CounterInput): { readonly state: number; readonly output: number } => {
    const sum = state + input.amount
    return { state: sum, output: sum }
  },
  key: (state: number): string => String(state),
  same: (seen: number, expected: number): boolean => seen === expected,
  part: (input: CounterInput): string => input.name,
})
