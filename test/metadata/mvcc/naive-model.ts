import type { Compare, Operation, Transaction } from '../../../src/interfaces/metadata-store.ts'

/** A key as the model keeps it, all in text. */
export interface ModelEntry {
  readonly key: string
  readonly value: string
  readonly createRevision: number
  readonly modRevision: number
  readonly version: number
  readonly session: number
}

export interface ModelResult {
  readonly succeeded: boolean
  readonly revision: number
  readonly results: readonly unknown[]
}

type World = ReadonlyMap<string, ModelEntry>

const decoder = new TextDecoder('latin1')

export function asText(bytes: Uint8Array): string {
  return decoder.decode(bytes)
}

/**
 * The store as one would explain it: a whole world per revision. Slow and obvious; it shares no code with the engine.
 */
export class NaiveModel {
  readonly worlds: World[] = [new Map()]
  readonly sessions = new Map<number, { holder: string; ttlMs: number; remainingMs: number | undefined }>()
  compactRevision = 0

  get revision(): number {
    return this.worlds.length - 1
  }

  get now(): World {
    return this.worlds[this.revision] as World
  }

  /** A result, or the code of a refusal. */
  txn(transaction: Transaction): ModelResult | string {
    for (const branch of [transaction.then ?? [], transaction.else ?? []]) {
      const writes = branch.filter((operation) => operation.type !== 'range')
      const touched = (a: Operation, b: Operation): boolean =>
        universe.some((key) => writesKey(a, key) && writesKey(b, key))
      if (writes.some((a, i) => writes.some((b, j) => i < j && touched(a, b)))) return 'INVALID_ARGUMENT'
    }
    const succeeded = (transaction.if ?? []).every((compare) => this.#holds(compare))
    const operations = (succeeded ? transaction.then : transaction.else) ?? []
    for (const operation of operations) {
      const session = operation.type === 'put' ? (operation.session ?? 0) : 0
      if (session !== 0 && !this.sessions.has(session)) return 'EPOCH_ENDED'
    }
    const world = new Map(this.now)
    const next = this.revision + 1
    let wrote = false
    const results = operations.map((operation): unknown => {
      if (operation.type === 'put') {
        const key = asText(operation.key)
        const previous = world.get(key)
        world.set(key, {
          key,
          value: asText(operation.value),
          createRevision: previous?.createRevision ?? next,
          modRevision: next,
          version: (previous?.version ?? 0) + 1,
          session: operation.session ?? 0,
        })
        wrote = true
        return { type: 'put', previous }
      }
      const found = inOrder(world).filter((entry) => within(operation, entry.key))
      if (operation.type === 'range') {
        const entries = found.slice(0, operation.limit ?? found.length)
        return { type: 'range', entries, more: entries.length < found.length, count: found.length }
      }
      for (const entry of found) world.delete(entry.key)
      wrote ||= found.length > 0
      return { type: 'delete', deleted: found }
    })
    if (wrote) this.worlds.push(world)
    return { succeeded, revision: this.revision, results }
  }

  grant(holder: string, ttlMs: number): number {
    this.worlds.push(this.now)
    this.sessions.set(this.revision, { holder, ttlMs, remainingMs: undefined })
    return this.revision
  }

  revoke(session: number): void {
    if (!this.sessions.delete(session)) return
    const kept = inOrder(this.now).filter((entry) => entry.session !== session)
    if (kept.length < this.now.size) this.worlds.push(new Map(kept.map((entry) => [entry.key, entry])))
  }

  /** Goes on at another revision, with nothing to be read of what came before. */
  raise(revision: number): string | undefined {
    if (revision <= this.revision + this.sessions.size) return 'CONFLICT'
    for (const session of this.sessions.keys()) this.revoke(session)
    while (this.revision < revision) this.worlds.push(this.now)
    this.compactRevision = revision
    return undefined
  }

  /** What a revision changed, as text, in no particular order. */
  events(revision: number): string[] {
    const before = this.worlds[revision - 1] as World
    const after = this.worlds[revision] as World
    const puts = [...after.values()]
      .filter((entry) => entry.modRevision === revision)
      .map((entry) => `put ${entry.key}=${entry.value} before ${before.get(entry.key)?.value}`)
    const deletes = [...before.keys()]
      .filter((key) => !after.has(key))
      .map((key) => `delete ${key} before ${before.get(key)?.value}`)
    return [...puts, ...deletes].sort()
  }

  #holds(compare: Compare): boolean {
    const entry = this.now.get(asText(compare.key))
    if (compare.target === 'value') {
      const equal = entry !== undefined && entry.value === asText(compare.operand)
      return compare.is === '=' ? equal : !equal
    }
    const actual = entry?.[compare.target] ?? 0
    const { operand } = compare
    return compare.is === '='
      ? actual === operand
      : compare.is === '!='
        ? actual !== operand
        : compare.is === '<'
          ? actual < operand
          : actual > operand
  }
}

/** All keys of the tests: all that a selection can touch. */
export const universe: readonly string[] = ['a', 'ab', 'b', 'ba', 'bb', 'c', 'd']

function inOrder(world: World): ModelEntry[] {
  return [...world.values()].sort((a, b) => (a.key < b.key ? -1 : 1))
}

export function within(operation: Exclude<Operation, { type: 'put' }>, key: string): boolean {
  const start = asText(operation.select.key)
  const { end } = operation.select
  if (end === undefined) return key === start
  return key >= start && (end === null || key < asText(end))
}

function writesKey(operation: Operation, key: string): boolean {
  return operation.type === 'put' ? asText(operation.key) === key : within(operation, key)
}
