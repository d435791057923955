import { text } from '../../../src/core/bytes.ts'
import { readBookkeeping } from '../../../src/raft/group/bookkeeping.ts'
import type { CounterMachine } from '../support/counter-machine.ts'

/**
 * Every command that any machine applied, by its index, and where there are several, by their order. What another one applies at that index must be the same, nothing
 * is applied twice in one life of a machine, and a state that a snapshot brings is the one that the group had there.
 */
export class History {
  readonly #broken: (invariant: string, problem: string) => never
  readonly #commands = new Map<number, string[]>()
  #ended = false
  /** States that were compared. */
  compared = 0

  constructor(broken: (invariant: string, problem: string) => never) {
    this.#broken = broken
  }

  /** Nothing is checked any more. */
  end(): void {
    this.#ended = true
  }

  watch(name: string, machine: CounterMachine): void {
    let last = 0
    const { open, apply, restore } = machine
    machine.open = async () => {
      const bookkeeping = await open.call(machine)
      last = readBookkeeping(bookkeeping).applied.index
      return bookkeeping
    }
    machine.apply = async (commands, seal) => {
      let of = 0
      commands.forEach(({ index, data }, i) => {
        // Those of one entry come together.
        const together = commands[i - 1]?.index === index
        of = together ? of + 1 : 0
        if (!together && index <= last)
          this.#fail('nothing is applied twice', `${name} applies ${index} after ${last}`)
        last = index
        this.#add(name, index, of, text(data))
      })
      return apply.call(machine, commands, seal)
    }
    machine.restore = async (bookkeeping, chunks) => {
      await restore.call(machine, bookkeeping, chunks)
      const { index } = readBookkeeping(bookkeeping).applied
      if (index <= last) this.#fail('a restore goes forward', `${name} goes from ${last} to ${index}`)
      last = index
      this.#compare(name, index, machine.values)
    }
  }

  /** `of` tells the commands of one entry apart. */
  #add(name: string, index: number, of: number, command: string): void {
    const commands = this.#commands.get(index) ?? []
    this.#commands.set(index, commands)
    const known = commands[of]
    if (known === undefined) commands[of] = command
    else if (known !== command) {
      this.#fail('state machine safety', `${name} applies ${command} at ${index}, another one ${known}`)
    }
  }

  #compare(name: string, at: number, found: ReadonlyMap<string, number>): void {
    const values = new Map<string, number>()
    for (const [index, commands] of this.#commands) {
      if (index > at) continue
      for (const command of commands) {
        const [counter, amount] = command.split('+') as [string, string]
        values.set(counter, (values.get(counter) ?? 0) + Number(amount))
      }
    }
    this.compared++
    const counters = new Set([...values.keys(), ...found.keys()])
    for (const counter of counters) {
      if (values.get(counter) === found.get(counter)) continue
      const difference = `${counter} = ${found.get(counter)}, not ${values.get(counter)}`
      this.#fail('a restored state is one of the group', `${name} at ${at} has ${difference}`)
    }
  }

  #fail(invariant: string, problem: string): void {
    if (!this.#ended) this.#broken(invariant, problem)
  }
}
