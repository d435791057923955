import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  checkArchitecture,
  checkPublicNames,
  describe,
  readSources,
  type SourceFile,
} from './support/architecture.ts'
import { importsOf, maskText } from './support/source-scan.ts'

// Two levels up of build/test.
const root = fileURLToPath(new URL('../../', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  name: string
  exports: Record<string, unknown>
  dependencies: Record<string, string>
}
const packages = Object.keys(manifest.dependencies)

suite('the house', () => {
  test('every import goes down, and no core does I/O', () => {
    const files = readSources(root, ['src'])
    assert.ok(files.length > 0, 'no source file found')
    assert.deepEqual(checkArchitecture(files, packages).map(describe), [])
  })

  test('examples and benchmarks import public names alone', () => {
    const files = readSources(root, ['examples', 'bench'])
    assert.deepEqual(checkPublicNames(files, manifest.name, Object.keys(manifest.exports)).map(describe), [])
  })
})

suite('the tests', () => {
  // Several files share a process (scripts/test.mjs): a hook outside all suites would run for the tests of the others too.
  test('set up in suites alone', () => {
    const files = readSources(root, ['test'])
    assert.ok(files.length > 0, 'no test file found')
    const outside = files.filter(({ text }) => /^(?:before|after)(?:Each)?\(/m.test(text))
    assert.deepEqual(
      outside.map(({ path }) => path),
      [],
    )
  })
})

/** Judges a few files, given as path → text, and returns the broken rules with their places. */
function judge(files: Record<string, string>): string[] {
  return checkArchitecture(sources(files), ['ws', 'classic-level', 'eventemitter3']).map(
    ({ rule, where }) => `${rule} ${where}`,
  )
}

function sources(files: Record<string, string>): SourceFile[] {
  return Object.entries(files).map(([path, text]) => ({ path, text }))
}

suite('the checker refuses', () => {
  const refused: [what: string, files: Record<string, string>, expected: string[]][] = [
    [
      'an import of a floor above',
      { 'src/raft/group.ts': "import { x } from '../metadata/store.ts'\n", 'src/metadata/store.ts': '' },
      ['floor src/raft/group.ts:1'],
    ],
    [
      'a type-only import of a floor above',
      { 'src/core/a.ts': "\nimport type { X } from '../model/x.ts'", 'src/model/x.ts': '' },
      ['floor src/core/a.ts:2'],
    ],
    [
      'a re-export of a floor above',
      { 'src/core/a.ts': "export * from '../model/x.ts'", 'src/model/x.ts': '' },
      ['floor src/core/a.ts:1'],
    ],
    [
      'a dynamic import of a floor above',
      { 'src/core/a.ts': "const x = await import('../model/x.ts')", 'src/model/x.ts': '' },
      ['floor src/core/a.ts:1'],
    ],
    [
      'an import of a neighbour on the same floor',
      { 'src/leases/a.ts': "import {\n  x,\n} from '../nodes/x.ts'", 'src/nodes/x.ts': '' },
      ['floor src/leases/a.ts:1'],
    ],
    [
      'a port that loads code of the model',
      { 'src/interfaces/a.ts': "import { x } from '../model/x.ts'", 'src/model/x.ts': '' },
      ['floor src/interfaces/a.ts:1'],
    ],
    [
      'a model that names a port',
      { 'src/model/a.ts': "import type { X } from '../interfaces/x.ts'", 'src/interfaces/x.ts': '' },
      ['floor src/model/a.ts:1'],
    ],
    [
      'one adapter that imports its alternative',
      { 'src/storage/segments/a.ts': "import '../level/x.ts'", 'src/storage/level/x.ts': '' },
      ['floor src/storage/segments/a.ts:1'],
    ],
    ['a folder on no floor', { 'src/misc/a.ts': '' }, ['floor src/misc/a.ts']],
    [
      'a simulation that imports a protocol',
      { 'src/simulation/a.ts': "import '../raft/x.ts'", 'src/raft/x.ts': '' },
      ['floor src/simulation/a.ts:1'],
    ],
    [
      'a compliance suite that imports the composition',
      { 'src/testing/a.ts': "import '../control-plane/x.ts'", 'src/control-plane/x.ts': '' },
      ['floor src/testing/a.ts:1'],
    ],
    [
      'a module that imports the simulation',
      { 'src/raft/a.ts': "import '../simulation/x.ts'", 'src/simulation/x.ts': '' },
      ['floor src/raft/a.ts:1'],
    ],
    [
      'a circle, also of types',
      {
        'src/raft/a.ts': "import { b } from './b.ts'",
        'src/raft/b.ts': "import type { C } from './c.ts'",
        'src/raft/c.ts': "import type { A } from './a.ts'",
      },
      ['circle src/raft/a.ts'],
    ],
    [
      'a circle within the composition',
      { 'src/index.ts': "export * from './cli/a.ts'", 'src/cli/a.ts': "import '../index.ts'" },
      ['circle src/index.ts'],
    ],
    [
      'an import without a file',
      { 'src/raft/a.ts': "import './missing.ts'" },
      ['resolution src/raft/a.ts:1'],
    ],
    ['an import out of src', { 'src/raft/a.ts': "import '../../test/x.ts'" }, ['resolution src/raft/a.ts:1']],
    [
      'a package that is no dependency',
      { 'src/raft/a.ts': "import x from 'left-pad'" },
      ['resolution src/raft/a.ts:1'],
    ],
    ['a computed import', { 'src/raft/a.ts': 'await import(name)' }, ['resolution src/raft/a.ts:1']],
    [
      'require',
      { 'src/raft/a.ts': "import { createRequire } from 'node:module'" },
      ['resolution src/raft/a.ts:1'],
    ],
    ['a clock', { 'src/raft/a.ts': '\n\nconst now = Date.now()' }, ['injected src/raft/a.ts:3']],
    [
      'a clock that is handed on',
      { 'src/raft/a.ts': 'run({ now: Date.now })' },
      ['injected src/raft/a.ts:1'],
    ],
    ['a date of now', { 'src/raft/a.ts': 'const now = new Date()' }, ['injected src/raft/a.ts:1']],
    ['random numbers', { 'src/model/a.ts': 'Math.random()' }, ['injected src/model/a.ts:1']],
    ['a timer', { 'src/raft/a.ts': 'setTimeout(() => {}, 1)' }, ['injected src/raft/a.ts:1']],
    ['a timer of globalThis', { 'src/raft/a.ts': 'globalThis.setInterval(f)' }, ['injected src/raft/a.ts:1']],
    [
      'a timer within a template',
      { 'src/raft/a.ts': 'const x = `a ${setImmediate(f)} b`' },
      ['injected src/raft/a.ts:1'],
    ],
    [
      'a timer under another name',
      { 'src/raft/a.ts': "import { setTimeout as sleep } from 'node:timers/promises'" },
      ['injected src/raft/a.ts:1', 'injected src/raft/a.ts:1'],
    ],
    [
      'a core that imports Node.js',
      { 'src/raft/core/a.ts': "import { join } from 'node:path'" },
      ['pure core src/raft/core/a.ts:1'],
    ],
    [
      'a core that imports a package, even its types',
      { 'src/swim/core/a.ts': "import type { WebSocket } from 'ws'" },
      ['pure core src/swim/core/a.ts:1'],
    ],
    [
      'a core that waits',
      { 'src/leases/core/a.ts': 'export async function f() {\n  await g()\n}' },
      ['pure core src/leases/core/a.ts:2', 'pure core src/leases/core/a.ts:1'],
    ],
    [
      'a core that promises',
      { 'src/schema/core/deep/a.ts': 'export type P = Promise<void>' },
      ['pure core src/schema/core/deep/a.ts:1'],
    ],
    [
      'a core that reads the clock',
      { 'src/placement/core/a.ts': 'performance.now()' },
      ['injected src/placement/core/a.ts:1', 'pure core src/placement/core/a.ts:1'],
    ],
    [
      'a core that loads a driver',
      {
        'src/raft/core/a.ts': "import { d } from '../driver.ts'",
        'src/raft/driver.ts': "import { open } from 'node:fs/promises'",
      },
      ['pure core src/raft/driver.ts:1'],
    ],
    [
      'a root entry that loads a native addon',
      {
        'src/index.ts': "export { x } from './control-plane/a.ts'",
        'src/control-plane/a.ts': "import { y } from '../storage/level/b.ts'",
        'src/storage/level/b.ts': "import { ClassicLevel } from 'classic-level'",
      },
      ['native addon src/storage/level/b.ts:1'],
    ],
  ]
  for (const [what, files, expected] of refused) {
    test(what, () => assert.deepEqual(judge(files), expected))
  }

  test('an example that imports what the package does not export', () => {
    const files = sources({
      'examples/01-x.ts':
        "import 'keelson/raft'\nimport 'keelson/model'\nimport './support/y.ts'\nimport 'node:fs'",
      'bench/a.ts': "import { x } from 'keelson'\nimport '../src/raft/index.ts'\nimport 'keelson/internal/x'",
    })
    const found = checkPublicNames(files, 'keelson', ['.', './raft', './internal/*'])
    assert.deepEqual(
      found.map(({ where }) => where),
      ['examples/01-x.ts:2', 'bench/a.ts:2', 'bench/a.ts:3'],
    )
  })
})

suite('the checker accepts', () => {
  const accepted: [what: string, files: Record<string, string>][] = [
    [
      'imports of floors below',
      {
        'src/index.ts': "export * from './control-plane/a.ts'\nexport * from './simulation/s.ts'",
        'src/control-plane/a.ts':
          "import '../leases/core/a.ts'\nimport { EventEmitter } from 'eventemitter3'",
        'src/leases/core/a.ts': "import type { Id } from '../../model/id.ts'\nimport '../../core/a.ts'",
        'src/model/id.ts': '',
        'src/core/a.ts': "import 'node:zlib'",
        'src/simulation/s.ts': "import '../model/id.ts'",
        'src/testing/t.ts': "import '../leases/core/a.ts'\nimport '../simulation/s.ts'",
      },
    ],
    [
      'the real world in its one place',
      { 'src/core/node-environment.ts': 'Date.now(); setTimeout(f, Math.random())' },
    ],
    [
      'words in comments, strings and regular expressions',
      {
        'src/raft/core/a.ts':
          "// Date.now() and await\n/* import 'ws' */\nconst a = 'setTimeout(' + /Math.random('/.source\n" +
          "const b = `import x from 'left-pad' ${a} await`\nconst c = b.length / 2 / 1 // Promise",
      },
    ],
    [
      'names that belong to someone',
      { 'src/raft/core/a.ts': 'clock.setTimeout(f)\nconst x = { setTimeout: f }\nnew Date(12)\nlog.await()' },
    ],
    [
      'a port that names the ids of the model',
      { 'src/interfaces/a.ts': "import type { X } from '../model/x.ts'", 'src/model/x.ts': '' },
    ],
    [
      'a lazy or erased use of the native addon',
      {
        'src/index.ts':
          "import type { L } from './storage/level/b.ts'\nconst f = () => import('./storage/level/b.ts')",
        'src/storage/level/b.ts': "import { ClassicLevel } from 'classic-level'",
      },
    ],
  ]
  for (const [what, files] of accepted) {
    test(what, () => assert.deepEqual(judge(files), []))
  }
})

suite('scanning', () => {
  test('finds every form of import', () => {
    const text = [
      "import a from 'm1'",
      "import * as b from 'm2'",
      "import c, { d as e, type F } from 'm3'",
      "import type { G } from 'm4'",
      "import 'm5'",
      "export * from 'm6'",
      "export * as h from 'm7'",
      "export { i } from 'm8'",
      "export type { J } from 'm9'",
      "type K = import('m10').K",
      'import type from "m11"',
      "import{l}from'm12'",
      "export const from = 'm13'",
      "const n = { import: 'm14' }",
      'const o = import.meta.url',
    ].join('\n')
    assert.deepEqual(
      importsOf(text).map(({ specifier, typeOnly }) => (typeOnly ? `type ${specifier}` : specifier)),
      ['m1', 'm2', 'm3', 'type m4', 'm5', 'm6', 'm7', 'm8', 'type m9', 'm10', 'm11', 'm12'],
    )
  })

  test('keeps every character in its place', () => {
    const text = "a('x') // c\nb = `p${ { q: '}' } }r` /* s\nt */ + /[/'\"]/g.source / 2\n"
    const masked = maskText(text)
    assert.equal(masked.length, text.length)
    assert.equal(masked, "a(' ')     \nb = ` ${ { q: ' ' } } `     \n     +        g.source / 2\n")
  })
})
