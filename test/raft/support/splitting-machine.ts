import { text, utf8 } from '../../../src/core/bytes.ts'
import type { BookkeepingWrite, Command } from '../../../src/interfaces/index.ts'
import { splitBookkeeping } from '../../../src/raft/index.ts'
import { type CounterDisk, CounterMachine, emptyDisk } from './counter-machine.ts'

/** What a machine that splits does wrong. */
export interface SplitBugs {
  /** The new group knows nothing of the commands that took effect before. */
  readonly noSessions?: boolean
  /** The split is applied in one batch with whatever comes along. */
  readonly notAlone?: boolean
}

/** Counters of a range: `split:m:7` makes those from `m` on the state of group 7. A counter of another range is `moved`. */
export class SplittingMachine extends CounterMachine {
  readonly #bugs: SplitBugs
  readonly #from: string
  #to: string | undefined
  onSplit: ((groupId: number, right: CounterDisk) => void) | undefined
  readonly alones: number[] = []

  constructor(disk: CounterDisk, from = '', bugs: SplitBugs = {}) {
    super(disk)
    this.#from = from
    this.#bugs = bugs
  }

  alone(data: Uint8Array): boolean {
    return this.#bugs.notAlone !== true && text(data).startsWith('split:')
  }

  override async apply(
    commands: readonly Command[],
    seal: (results: readonly Uint8Array[]) => readonly BookkeepingWrite[],
  ): Promise<void> {
    await this.gate?.()
    this.batches++
    this.#to = this.values.has('split') ? 'm' : undefined
    let split: { readonly id: number; readonly right: CounterDisk } | undefined
    const results = commands.map((command) => {
      const line = text(command.data)
      if (line.startsWith('split:')) {
        this.alones.push(command.index)
        const [, key, id] = line.split(':') as [string, string, string]
        split ??= this.#cut(key, Number(id))
        return utf8('split')
      }
      const [name, amount] = line.split('+') as [string, string]
      if (name < this.#from || (this.#to !== undefined && name >= this.#to)) return utf8('moved')
      const value = (this.values.get(name) ?? 0) + Number(amount)
      this.values.set(name, value)
      this.executed.push(`${command.index}:${line}`)
      return utf8(String(value))
    })
    for (const { key, value } of seal(results)) {
      if (value === undefined) this.bookkeeping.delete(key)
      else this.bookkeeping.set(key, value)
    }
    if (split === undefined) return
    const { id, right } = split
    const born = splitBookkeeping(this.bookkeeping, id)
    if (born === undefined) return
    right.bookkeeping = new Map(
      [...born].filter(([key]) => this.#bugs.noSessions !== true || !/^(?:session|result)/.test(key)),
    )
    this.onSplit?.(id, right)
  }

  #cut(key: string, id: number): { readonly id: number; readonly right: CounterDisk } | undefined {
    if (this.values.has('split')) return undefined
    const right = emptyDisk()
    for (const [name, value] of this.values) {
      if (name < key) continue
      right.values.set(name, value)
      this.values.delete(name)
    }
    // A part of the state, so that it is in snapshots: it sorts behind the key, and is nobody's counter.
    this.values.set('split', 1)
    this.#to = key
    return { id, right }
  }
}
