import type { Kind } from './refusals.ts'

/** One argument of a call: its kind, with values that look wrong and are taken nevertheless. */
export interface Argument {
  /** Without a kind only `also` is wrong. */
  readonly kind?: Kind
  readonly but?: readonly unknown[]
  /** Further values that are wrong here. */
  readonly also?: readonly unknown[]
  /** It may be left out. */
  readonly optional?: boolean
}

/** One call of something public. */
export interface Call {
  readonly name: string
  /** Arguments that are right. */
  readonly right: readonly unknown[]
  readonly arguments: readonly Argument[]
  /** The options that it takes as its last argument, beside `signal`; undefined when it takes none at all. */
  readonly options?: readonly string[]
  /** Members of the options that are needed. */
  readonly needed?: Readonly<Record<string, unknown>>
  readonly call: (...args: never[]) => unknown
  /** `ignores`: a signal that is aborted already ends it without an error, as its description says. */
  readonly aborted?: 'ignores'
  /** `ignores`: it only looks at what is known, so that it works after the close, too. */
  readonly closed?: 'ignores'
}

/** All calls of one object, how it is made and how it is closed. */
export interface Subject {
  readonly name: string
  readonly open: () => Promise<{
    readonly calls: readonly Call[]
    readonly close: () => Promise<unknown>
    /** Whether nothing of what was refused took effect. */
    readonly unchanged?: () => Promise<boolean>
  }>
}
