// The Google machine reassignment problem (ROADEF/EURO challenge 2012): reading what the organisers wrote.

/** A machine reassignment problem as its file says it. */
export interface Instance {
  readonly resources: readonly { readonly transient: boolean; readonly weight: number }[]
  readonly machines: readonly Machine[]
  readonly services: readonly Service[]
  readonly processes: readonly Process[]
  readonly balances: readonly Balance[]
  readonly processMoveWeight: number
  readonly serviceMoveWeight: number
  readonly machineMoveWeight: number
}

export interface Machine {
  readonly neighbourhood: number
  readonly location: number
  readonly capacity: readonly number[]
  readonly safety: readonly number[]
  /** What it costs to move a process from here to each machine. */
  readonly moveCost: Float64Array
}

export interface Service {
  /** In how many locations its processes must be at least. */
  readonly spread: number
  readonly dependsOn: readonly number[]
}

export interface Process {
  readonly service: number
  readonly needs: readonly number[]
  readonly moveCost: number
}

/** Of the second resource, `target` units should be free for each free unit of the first. */
export interface Balance {
  readonly first: number
  readonly second: number
  readonly target: number
  readonly weight: number
}

/** A file that is not what it should be; the message names the line and the field. */
export class BadFile extends Error {
  override readonly name = 'BadFile'
}

/** Takes numbers from a text one by one, and knows where it is. */
class Numbers {
  readonly #text: string
  readonly #file: string
  #at = 0
  #line = 1

  constructor(text: string, file: string) {
    this.#text = text
    this.#file = file
  }

  /** The next whole number, from `least` to `most`. */
  next(field: string, least = 0, most = Number.MAX_SAFE_INTEGER): number {
    const text = this.#text
    this.#skip()
    if (this.#at >= text.length) this.fail(field, 'the file ends before it')
    const start = this.#at
    let value = 0
    for (; this.#at < text.length; this.#at++) {
      const code = text.charCodeAt(this.#at)
      if (code <= 32) break
      if (code < 48 || code > 57) return this.#bad(field, start)
      value = value * 10 + (code - 48)
    }
    if (value < least || value > most) this.fail(field, `${value} is not between ${least} and ${most}`)
    return value
  }

  end(): void {
    this.#skip()
    if (this.#at < this.#text.length) this.fail('the end of the file', 'there is more')
  }

  fail(field: string, why: string): never {
    throw new BadFile(`${this.#file}, line ${this.#line}: ${field}: ${why}`)
  }

  #bad(field: string, start: number): never {
    const rest = /^\S{1,40}/.exec(this.#text.slice(start, start + 41))?.[0] ?? ''
    return this.fail(field, `'${rest}' is not a whole number from 0`)
  }

  #skip(): void {
    for (; this.#at < this.#text.length; this.#at++) {
      const code = this.#text.charCodeAt(this.#at)
      if (code > 32) return
      if (code === 10) this.#line++
    }
  }
}

const most = 1_000_000

/** Reads a `model_*.txt`. @throws BadFile */
export function parseModel(text: string, file: string): Instance {
  const numbers = new Numbers(text, file)
  const width = numbers.next('number of resources', 1, 64)
  const each = <T>(count: number, make: (i: number) => T): T[] =>
    Array.from({ length: count }, (_, i) => make(i))
  const resources = each(width, (r) => ({
    transient: numbers.next(`transient flag of resource ${r}`, 0, 1) === 1,
    weight: numbers.next(`load weight of resource ${r}`),
  }))
  const machineCount = numbers.next('number of machines', 1, most)
  const machines = each(machineCount, (m) => ({
    neighbourhood: numbers.next(`neighbourhood of machine ${m}`, 0, most),
    location: numbers.next(`location of machine ${m}`, 0, most),
    capacity: each(width, (r) => numbers.next(`capacity of machine ${m} in resource ${r}`)),
    safety: each(width, (r) => numbers.next(`safety capacity of machine ${m} in resource ${r}`)),
    moveCost: Float64Array.from({ length: machineCount }, (_, to) =>
      numbers.next(`cost of moves from machine ${m} to ${to}`),
    ),
  }))
  const serviceCount = numbers.next('number of services', 1, most)
  const services = each(serviceCount, (s) => {
    const spread = numbers.next(`spread of service ${s}`, 0, most)
    const count = numbers.next(`number of dependencies of service ${s}`, 0, serviceCount)
    const dependsOn = each(count, () => numbers.next(`a dependency of service ${s}`, 0, serviceCount - 1))
    return { spread, dependsOn }
  })
  const processes = each(numbers.next('number of processes', 1, most), (p) => ({
    service: numbers.next(`service of process ${p}`, 0, serviceCount - 1),
    needs: each(width, (r) => numbers.next(`need of process ${p} for resource ${r}`)),
    moveCost: numbers.next(`move cost of process ${p}`),
  }))
  const balances = each(numbers.next('number of balance objectives', 0, 1000), (b) => ({
    first: numbers.next(`first resource of balance objective ${b}`, 0, width - 1),
    second: numbers.next(`second resource of balance objective ${b}`, 0, width - 1),
    target: numbers.next(`target of balance objective ${b}`),
    weight: numbers.next(`weight of balance objective ${b}`),
  }))
  const instance = {
    resources,
    machines,
    services,
    processes,
    balances,
    processMoveWeight: numbers.next('weight of the process move cost'),
    serviceMoveWeight: numbers.next('weight of the service move cost'),
    machineMoveWeight: numbers.next('weight of the machine move cost'),
  }
  numbers.end()
  return instance
}

/** Reads an `assignment_*.txt`: the machine of each process. @throws BadFile */
export function parseAssignment(text: string, file: string, instance: Instance): Int32Array {
  const numbers = new Numbers(text, file)
  const machines = Int32Array.from(instance.processes, (_, p) =>
    numbers.next(`machine of process ${p}`, 0, instance.machines.length - 1),
  )
  numbers.end()
  return machines
}
