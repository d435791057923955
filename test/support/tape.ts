import assert from 'node:assert/strict'
import { test } from 'node:test'

type Body = (t: Tape) => unknown

/** As much of tape's interface as abstract-level's own test suite uses, on Node's runner. */
class Tape {
  #planned: number | undefined
  #asserted = 0
  readonly #done: () => void

  constructor(done: () => void) {
    this.#done = done
  }

  get planned(): boolean {
    return this.#planned !== undefined
  }

  plan(count: number): void {
    this.#planned = count
    this.#count(0)
  }

  end(): void {
    this.#done()
  }

  pass(): void {
    this.#count()
  }

  fail(message: unknown): void {
    assert.fail(message instanceof Error ? message : String(message))
  }

  ok(value: unknown, message?: string): void {
    assert.ok(value, message)
    this.#count()
  }

  is(actual: unknown, expected: unknown, message?: string): void {
    assert.equal(actual, expected, message)
    this.#count()
  }

  isNot(actual: unknown, expected: unknown, message?: string): void {
    assert.notEqual(actual, expected, message)
    this.#count()
  }

  /** tape's deep equality looks at prototypes no more than at the order of keys. */
  same(actual: unknown, expected: unknown, message?: string): void {
    assert.deepStrictEqual(actual, expected, message)
    this.#count()
  }

  throws(action: () => unknown, expected: RegExp | ((error: unknown) => boolean), message?: string): void {
    assert.throws(action, expected, message)
    this.#count()
  }

  doesNotThrow(action: () => unknown, message?: string): void {
    assert.doesNotThrow(action, message)
    this.#count()
  }

  assertPlan(): void {
    if (this.#planned !== undefined) assert.equal(this.#asserted, this.#planned, 'planned assertions')
  }

  #count(by = 1): void {
    this.#asserted += by
    if (this.#planned !== undefined && this.#asserted >= this.#planned) this.#done()
  }
}

/** A stand-in for tape's `test`. */
export function tape(name: string, ...rest: readonly unknown[]): void {
  const body = rest.at(-1) as Body
  test(name, async () => {
    let done!: () => void
    const ended = new Promise<void>((resolve) => {
      done = resolve
    })
    const t = new Tape(done)
    const returned = body(t)
    if (returned instanceof Promise) {
      await returned
      // A planned test that returns a promise still has to reach its plan.
      if (t.planned) await ended
    } else {
      await ended
    }
    t.assertPlan()
  })
}
