import { KeelsonError } from '../core/errors.ts'

type Holder = Record<string, unknown>

/** What is replaced: the object that has it, the property, and the name for messages. */
interface Site {
  readonly holder: Holder
  readonly key: string
  readonly name: string
}

const globals = globalThis as unknown as Holder

function sitesOf(holder: unknown, label: string, keys: readonly string[]): Site[] {
  if (holder === undefined || holder === null) return []
  return keys
    .filter((key) => key in (holder as Holder))
    .map((key) => ({ holder: holder as Holder, key, name: label === '' ? key : `${label}.${key}` }))
}

/**
 * Built-in modules hand out the same functions under their own names. They are patched where they are loaded already;
 * `import { randomBytes } from 'node:crypto'` sees the patch through the module's live bindings.
 */
function moduleSites(): Site[] {
  return [
    ...sitesOf(process.getBuiltinModule('node:timers'), 'node:timers', [
      'setTimeout',
      'setInterval',
      'setImmediate',
    ]),
    ...sitesOf(process.getBuiltinModule('node:timers/promises'), 'node:timers/promises', [
      'setTimeout',
      'setImmediate',
      'setInterval',
    ]),
    ...sitesOf(process.getBuiltinModule('node:crypto'), 'node:crypto', [
      'randomBytes',
      'randomUUID',
      'randomInt',
      'randomFillSync',
      'randomFill',
      'getRandomValues',
    ]),
  ]
}

const globalSites: readonly Site[] = [
  ...sitesOf(globals, '', ['setTimeout', 'setInterval', 'setImmediate']),
  ...sitesOf(Math, 'Math', ['random']),
  ...sitesOf(globals.performance, 'performance', ['now']),
  ...sitesOf(globals.crypto, 'crypto', ['randomUUID', 'getRandomValues']),
  ...sitesOf(globals.AbortSignal, 'AbortSignal', ['timeout']),
  ...sitesOf(process, 'process', ['hrtime', 'uptime']),
]

const realDate = Reflect.get<typeof globalThis, 'Date'>(globalThis, 'Date')

/** Resources of the operating system whose completion virtual time does not see. Sockets and pipes of a test runner stay. */
const foreignWork =
  /^(?:FSReq|Timeout$|GetAddrInfo|RandomBytes|RandomPrime|PBKDF2|Scrypt|Hash|HKDF|CheckPrime|KeyPair|KeyGen|Sign|Zlib|Brotli|FileHandle|DirHandle|TCPConnect|UDPSend|ProcessWrap)/i

let installed = false

/**
 * Makes the ambient clocks, timers and random numbers of the process throw while it is installed, and remembers the
 * first use, also when the code that used one swallowed the error.
 */
export class AmbientGuard {
  #saved: { readonly site: Site; readonly descriptor: PropertyDescriptor | undefined }[] = []
  #firstUse: KeelsonError | undefined
  #resources = new Map<string, number>()

  /** @throws KeelsonError `INVALID_ARGUMENT` when another simulation runs in this process */
  install(): void {
    if (installed) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'another simulation runs in this process; await it first, as simulations share the poisoned globals',
      )
    }
    installed = true
    this.#firstUse = undefined
    this.#resources = countResources()
    for (const site of globalSites) this.#replace(site, this.#trap(site.name))
    this.#replace({ holder: globals, key: 'Date', name: 'Date' }, this.#date())
    for (const site of moduleSites()) this.#replace(site, this.#trap(site.name))
    process.getBuiltinModule('node:module').syncBuiltinESMExports()
  }

  /** Puts everything back. */
  remove(): void {
    for (const { site, descriptor } of this.#saved.reverse()) {
      if (descriptor === undefined) delete site.holder[site.key]
      else Object.defineProperty(site.holder, site.key, descriptor)
    }
    this.#saved = []
    process.getBuiltinModule('node:module').syncBuiltinESMExports()
    installed = false
  }

  /** @throws KeelsonError `INVARIANT_VIOLATED` with the stack of the first use of an ambient source */
  check(): void {
    if (this.#firstUse !== undefined) throw this.#firstUse
  }

  /** @throws KeelsonError `INVARIANT_VIOLATED` when input or output of the operating system is under way */
  checkResources(): void {
    for (const [kind, count] of countResources()) {
      if (count <= (this.#resources.get(kind) ?? 0)) continue
      throw new KeelsonError(
        'INVARIANT_VIOLATED',
        `real work (${kind}) was started inside a simulation; its completion is not in virtual time, so no run repeats`,
      )
    }
  }

  #replace(site: Site, value: unknown): void {
    // Own or inherited: an inherited one is shadowed, and removed again.
    const descriptor = Object.getOwnPropertyDescriptor(site.holder, site.key)
    if (descriptor?.configurable === false) return
    this.#saved.push({ site, descriptor })
    Object.defineProperty(site.holder, site.key, {
      value,
      configurable: true,
      writable: true,
      enumerable: descriptor?.enumerable ?? false,
    })
  }

  #trap(name: string): () => never {
    const trap = (): never => this.#fail(name)
    // process.hrtime.bigint
    return Object.assign(trap, { bigint: trap })
  }

  #fail(name: string): never {
    const error = new KeelsonError(
      'INVARIANT_VIOLATED',
      `${name} was used inside a simulation; take time, timers and random numbers from the Environment`,
    )
    this.#firstUse ??= error
    throw error
  }

  /** Dates of a given time are pure; those of the present time are not. */
  #date(): DateConstructor {
    const fail = (name: string): never => this.#fail(name)
    return new Proxy(realDate, {
      apply: () => fail('Date()'),
      construct: (target, parameters: unknown[], newTarget) =>
        parameters.length === 0
          ? fail('new Date()')
          : (Reflect.construct(target, parameters, newTarget) as object),
      get: (target, key, receiver): unknown =>
        key === 'now' ? () => fail('Date.' + key) : (Reflect.get(target, key, receiver) as unknown),
    })
  }
}

function countResources(): Map<string, number> {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) {
    if (foreignWork.test(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  return counts
}
