import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, posix, sep } from 'node:path'
import { type Import, importsOf, lineOf, maskText } from './source-scan.ts'

/** A source file: its path from the repository's root, with slashes, and its text. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

/** A broken rule, and where. */
export interface Violation {
  readonly rule: Rule
  readonly where: string
  readonly message: string
}

export type Rule =
  | 'floor'
  | 'resolution'
  | 'circle'
  | 'pure core'
  | 'injected'
  | 'native addon'
  | 'public names'

/** Each module's floor; it may import the floors below. */
const floors: Readonly<Record<string, number>> = {
  core: 1,
  interfaces: 2,
  model: 2,
  transport: 3,
  storage: 3,
  raft: 4,
  swim: 4,
  metadata: 5,
  jobs: 6,
  nodes: 7,
  leases: 7,
  placement: 7,
  schema: 7,
  settings: 7,
  'control-plane': 8,
  cli: 8,
  'index.ts': 8,
}

/** The composition: its parts may import each other, as long as no circle comes of it. */
const compositionFloor = 8

/**
 * The one look sideways: a port names the ids that it carries, so the interfaces take types of the model. Never the
 * other way around.
 */
const typesSideways: Readonly<Record<string, readonly string[]>> = { interfaces: ['model'] }

/** The modules beside the house, and the floors that they may import. */
const beside: Readonly<Record<string, { readonly below: number; readonly modules: readonly string[] }>> = {
  simulation: { below: 3, modules: [] },
  testing: { below: 8, modules: ['simulation'] },
}

/** What the composition may import of the modules beside the house: development clusters run in virtual time. */
const besideForComposition: readonly string[] = ['simulation']

/** Modules whose folders are alternatives: a host that takes one must not load another's dependencies. */
const adapters: Readonly<Record<string, readonly string[]>> = {
  transport: ['memory', 'websocket', 'datagram'],
  storage: ['memory', 'level', 'segments'],
}

/** The one file that reads the real clock and the real random numbers, and sets real timers. */
const realWorld = 'src/core/node-environment.ts'

/**
 * What loads a native addon as soon as it is imported. `msgpackr` does where its accelerator is installed, `msgpackr/pack`
 * and `msgpackr/unpack` never do.
 */
const nativeAddons: readonly string[] = ['classic-level', 'msgpackr']

const ambient: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['Date.now', /\bDate\s*\.\s*now\b/g],
  ['new Date()', /\bnew\s+Date\b\s*(?:\(\s*\)|(?!\s*\())/g],
  ['performance.now', /\bperformance\s*\.\s*now\b/g],
  ['process.hrtime', /\bprocess\s*\.\s*hrtime\b/g],
  ['Math.random', /\bMath\s*\.\s*random\b/g],
  ['crypto.randomUUID', /(?<![.\w$])crypto\s*\.\s*(?:randomUUID|getRandomValues)\b/g],
  // A property or a method of this name that belongs to someone (`clock.setTimeout`, `{ setTimeout: … }`) is not the global.
  ['setTimeout', /(?:(?<![.\w$])|\bglobalThis\s*\.\s*)setTimeout\b(?!\s*\??\s*:)/g],
  ['setInterval', /(?:(?<![.\w$])|\bglobalThis\s*\.\s*)setInterval\b(?!\s*\??\s*:)/g],
  ['setImmediate', /(?:(?<![.\w$])|\bglobalThis\s*\.\s*)setImmediate\b(?!\s*\??\s*:)/g],
]

/** Built-in modules that hand out the same things under another name. */
const ambientModules: readonly string[] = ['node:timers', 'node:timers/promises', 'node:perf_hooks']

const asynchronous: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['await', /(?<![.\w$])await\b(?!\s*\??\s*:)/g],
  ['async', /(?<![.\w$])async\b(?!\s*\??\s*:)/g],
  ['Promise', /(?<![.\w$])Promise(?:Like)?\b/g],
  ['queueMicrotask', /(?<![.\w$])queueMicrotask\b/g],
  ['process', /(?<![.\w$])process\s*\./g],
]

interface Parsed extends SourceFile {
  readonly masked: string
  readonly imports: readonly Import[]
}

/** Every TypeScript file below the folders, from the repository's root. A folder that does not exist has none. */
export function readSources(root: string, folders: readonly string[]): SourceFile[] {
  return folders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.ts'))
        .map((file) => join(folder, file)),
    )
    .sort()
    .map((path) => ({ path: path.split(sep).join('/'), text: readFileSync(join(root, path), 'utf8') }))
}

/** Judges the files of `src`; `packages` are the runtime dependencies. */
export function checkArchitecture(files: readonly SourceFile[], packages: readonly string[]): Violation[] {
  const parsed = files.map(parse)
  const byPath = new Map(parsed.map((file) => [file.path, file]))
  return [
    ...parsed.flatMap((file) => checkImports(file, byPath, packages)),
    ...parsed.flatMap(checkInjected),
    ...checkCircles(parsed, byPath),
    ...checkPureCores(parsed, byPath),
    ...checkRootEntry(byPath),
  ]
}

/**
 * Judges files outside of `src` that show what a user sees (examples, benchmarks): of the package they import nothing but
 * the names that it exports.
 */
export function checkPublicNames(
  files: readonly SourceFile[],
  packageName: string,
  exported: readonly string[],
): Violation[] {
  const names = new Set(
    exported.filter((subpath) => !subpath.includes('*')).map((subpath) => packageName + subpath.slice(1)),
  )
  return files.map(parse).flatMap((file) =>
    file.imports.flatMap((each): Violation[] => {
      const { specifier, line } = each
      const where = `${file.path}:${line}`
      if (specifier === packageName || specifier.startsWith(`${packageName}/`)) {
        if (names.has(specifier)) return []
        return [
          { rule: 'public names', where, message: `${specifier} is not in the exports of package.json` },
        ]
      }
      if (!specifier.startsWith('.')) return []
      const folder = file.path.split('/')[0] ?? ''
      const target = posix.join(posix.dirname(file.path), specifier)
      if (target.startsWith(`${folder}/`)) return []
      return [{ rule: 'public names', where, message: `imports ${target} by its path` }]
    }),
  )
}

/** One line for a person. */
export function describe(violation: Violation): string {
  return `${violation.where}: ${violation.message} [${violation.rule}]`
}

function parse(file: SourceFile): Parsed {
  const masked = maskText(file.text)
  return { ...file, masked, imports: importsOf(file.text, masked) }
}

/** The module of a path: `raft` of `src/raft/core/raft.ts`, `index.ts` of the root entry. */
function moduleOf(path: string): string {
  return path.split('/')[1] ?? ''
}

function resolve(file: SourceFile, specifier: string): string {
  return posix.join(posix.dirname(file.path), specifier)
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

function checkImports(
  file: Parsed,
  byPath: ReadonlyMap<string, Parsed>,
  packages: readonly string[],
): Violation[] {
  const found: Violation[] = []
  const own = moduleOf(file.path)
  if (floors[own] === undefined && beside[own] === undefined) {
    found.push({ rule: 'floor', where: file.path, message: `${own} is on no floor` })
  }
  for (const { specifier, line, typeOnly } of file.imports) {
    const report = (rule: Rule, message: string): void => {
      found.push({ rule, where: `${file.path}:${line}`, message })
    }
    if (specifier === '') {
      report('resolution', 'a computed import: nobody can say what it loads')
    } else if (specifier.startsWith('.')) {
      const target = resolve(file, specifier)
      if (!byPath.has(target)) report('resolution', `${specifier} is no file of src`)
      else {
        const refused = refusal(file.path, target, typeOnly)
        if (refused !== undefined) report('floor', `imports ${target}: ${refused}`)
      }
    } else if (specifier.startsWith('node:')) {
      if (ambientModules.includes(specifier) && file.path !== realWorld) {
        report('injected', `${specifier}: time and timers come from the environment`)
      }
    } else if (!packages.includes(packageOf(specifier))) {
      report('resolution', `${specifier} is no runtime dependency`)
    }
  }
  for (const match of file.masked.matchAll(/(?<![.\w$])(?:require\s*\(|createRequire\b)/g)) {
    const where = `${file.path}:${lineOf(file.text, match.index)}`
    found.push({ rule: 'resolution', where, message: 'require() loads what no rule sees' })
  }
  return found
}

/** Why one file must not import another, or undefined if it may. */
function refusal(from: string, to: string, typeOnly: boolean): string | undefined {
  const own = moduleOf(from)
  const other = moduleOf(to)
  if (own === other) {
    const [mine, theirs] = [from.split('/')[2] ?? '', to.split('/')[2] ?? '']
    const alternatives = adapters[own] ?? []
    const rivals = mine !== theirs && alternatives.includes(mine) && alternatives.includes(theirs)
    return rivals ? `${mine} and ${theirs} are alternatives` : undefined
  }
  const ownFloor = floors[own]
  const otherFloor = floors[other]
  const rules = beside[own]
  if (rules !== undefined) {
    if (rules.modules.includes(other)) return undefined
    if (otherFloor !== undefined && otherFloor < rules.below) return undefined
    return `${own} imports only floors below ${rules.below}`
  }
  if (ownFloor === undefined) return undefined // reported once, for the file
  if (otherFloor === undefined) {
    if (ownFloor === compositionFloor && besideForComposition.includes(other)) return undefined
    return `${other} is beside the house, not below floor ${ownFloor}`
  }
  if (otherFloor < ownFloor) return undefined
  if (otherFloor > ownFloor) return `floor ${otherFloor} is above floor ${ownFloor}`
  if (typeOnly && typesSideways[own]?.includes(other) === true) return undefined
  return ownFloor === compositionFloor ? undefined : `${own} and ${other} share floor ${ownFloor}`
}

function checkInjected(file: Parsed): Violation[] {
  if (file.path === realWorld) return []
  return uses(file, ambient).map(([name, line]) => ({
    rule: 'injected',
    where: `${file.path}:${line}`,
    message: `${name}: time, timers and random numbers come from the environment`,
  }))
}

function uses(
  file: Parsed,
  patterns: readonly (readonly [string, RegExp])[],
): [name: string, line: number][] {
  return patterns.flatMap(([name, pattern]) =>
    [...file.masked.matchAll(pattern)].map((match): [string, number] => [
      name,
      lineOf(file.text, match.index),
    ]),
  )
}

/**
 * A `core` folder of a module, and whatever of the modules its files load: no I/O, no package, no clock, no waiting. What
 * they take from floors 1 and 2 is judged there.
 */
function checkPureCores(files: readonly Parsed[], byPath: ReadonlyMap<string, Parsed>): Violation[] {
  const loadedBy = new Map<string, string>()
  const open = files.filter(({ path }) => /^src\/[^/]+\/(?:.+\/)?core\//.test(path))
  for (const { path } of open) loadedBy.set(path, '')
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    for (const { specifier, typeOnly } of file.imports) {
      const target = specifier.startsWith('.') ? byPath.get(resolve(file, specifier)) : undefined
      if (target === undefined || typeOnly || loadedBy.has(target.path)) continue
      if ((floors[moduleOf(target.path)] ?? 0) <= 2) continue
      loadedBy.set(target.path, `, and ${file.path} loads it`)
      open.push(target)
    }
  }
  const found: Violation[] = []
  for (const [path, loader] of loadedBy) {
    const file = byPath.get(path)
    if (file === undefined) continue
    const report = (line: number, what: string): void => {
      found.push({ rule: 'pure core', where: `${path}:${line}`, message: `${what} in a core${loader}` })
    }
    for (const { specifier, line, dynamic } of file.imports) {
      if (!specifier.startsWith('.')) report(line, `imports ${specifier === '' ? '(computed)' : specifier}`)
      else if (dynamic) report(line, `import('${specifier}')`)
    }
    for (const [name, line] of uses(file, [...ambient, ...asynchronous])) report(line, name)
  }
  return found
}

function checkCircles(files: readonly Parsed[], byPath: ReadonlyMap<string, Parsed>): Violation[] {
  const found: Violation[] = []
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: Parsed): void => {
    const again = path.indexOf(file.path)
    if (again >= 0) {
      const circle = [...path.slice(again), file.path].join(' → ')
      found.push({ rule: 'circle', where: file.path, message: circle })
      return
    }
    if (done.has(file.path)) return
    path.push(file.path)
    for (const { specifier } of file.imports) {
      const target = specifier.startsWith('.') ? byPath.get(resolve(file, specifier)) : undefined
      if (target !== undefined) visit(target)
    }
    path.pop()
    done.add(file.path)
  }
  for (const file of files) visit(file)
  return found
}

/** What `import 'keelson'` loads at once: no native addon, which not every platform has. */
function checkRootEntry(byPath: ReadonlyMap<string, Parsed>): Violation[] {
  const found: Violation[] = []
  const root = byPath.get('src/index.ts')
  const open = root === undefined ? [] : [root]
  const seen = new Set(open)
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    for (const { specifier, line, typeOnly, dynamic } of file.imports) {
      if (typeOnly || dynamic) continue
      if (nativeAddons.includes(specifier)) {
        const message = `the root entry loads ${specifier}`
        found.push({ rule: 'native addon', where: `${file.path}:${line}`, message })
      }
      const target = specifier.startsWith('.') ? byPath.get(resolve(file, specifier)) : undefined
      if (target === undefined || seen.has(target)) continue
      seen.add(target)
      open.push(target)
    }
  }
  return found
}
