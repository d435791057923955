import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { errorTraits } from '../../src/core/errors.ts'
import { commandLimits } from '../../src/metadata/mvcc/limits.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const folder = join(root, 'docs')
const pages = readdirSync(folder).filter((file) => file.endsWith('.md'))
const read = (page: string): string => readFileSync(join(folder, page), 'utf8')

/** The exported names of all modules, types included. */
function exportedNames(): Set<string> {
  const names = new Set<string>()
  const exported = /^export (?:abstract )?(?:class|async function|function|const|type|interface) (\w+)/gm
  for (const file of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue
    for (const [, name] of readFileSync(join(root, 'src', file), 'utf8').matchAll(exported))
      names.add(name as string)
  }
  return names
}

suite('the pages of docs/', () => {
  test('the table of error codes is that of the code', () => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/error-table.mjs', '--check'], {
      cwd: root,
    })
    assert.equal(status, 0, String(stderr))
    const rows = [
      ...read('errors.md').matchAll(/^\| `([A-Z_]+)` +\| (yes|no) +\| (none|unknown) +\| (.+) \|$/gm),
    ]
    assert.deepEqual(
      Object.fromEntries(
        rows.map(([, code, retryable, outcome]) => [code, { retryable: retryable === 'yes', outcome }]),
      ),
      { ...errorTraits },
    )
  })

  test('every link leads somewhere', () => {
    let links = 0
    for (const page of pages) {
      for (const [, target] of read(page).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
        links++
        assert.ok(existsSync(join(dirname(join(folder, page)), target as string)), `${page}: ${target}`)
      }
    }
    assert.ok(links > 10)
  })

  test('what is written like a class or an error code exists', () => {
    const names = exportedNames()
    assert.ok(names.size > 100)
    const unknown: string[] = []
    for (const page of pages) {
      const text = read(page)
      for (const [, code] of text.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g))
        if (!Object.hasOwn(errorTraits, code as string)) unknown.push(`${page}: ${code}`)
      // A class that is made, opened or named.
      const inCode = [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) =>
        (code as string).replaceAll(/'[^'\n]*'/g, "''"),
      )
      const mentioned = [
        ...inCode.flatMap((code) => [...code.matchAll(/\b([A-Z][a-z]\w+)(?=[.(<])/g)]),
        ...text.matchAll(/`([A-Z][a-z]+[A-Z]\w+)`/g),
      ]
      for (const [, name] of mentioned)
        if (!names.has(name as string) && !((name as string) in globalThis)) unknown.push(`${page}: ${name}`)
    }
    assert.deepEqual(unknown, [])
  })

  test('the limits of the metadata store are those of the code', () => {
    const page = read('metadata.md')
    const { keyBytes, valueBytes, operations, transactionBytes, sessions, keysPerSession } = commandLimits
    const kib = (bytes: number): string => `${bytes / 1024} KiB`
    const count = (number: number): string => number.toLocaleString('en-US')
    for (const [what, limit] of [
      ['key, value', `${kib(keyBytes)}, ${kib(valueBytes)}`],
      ['a transaction', `${count(operations)} operations and compares, ${kib(transactionBytes)}`],
      ['sessions; keys of one session', `${count(sessions)}; ${count(keysPerSession)}`],
    ] as const) {
      const [, found] = new RegExp(`^\\| ${what} +\\| (.+?) +\\|`, 'm').exec(page) ?? []
      assert.equal(found, limit, what)
    }
  })

  test('the keys that belong to keelson are all named', () => {
    const prefixes = new Set<string>()
    for (const file of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts') || file.startsWith('simulation') || file.startsWith('testing')) continue
      const source = readFileSync(join(root, 'src', file), 'utf8')
      for (const [, prefix] of source.matchAll(/^(?! \*).*utf8\(['`](\/[a-z]+\/)/gm))
        prefixes.add(prefix as string)
    }
    assert.ok(prefixes.size > 3, [...prefixes].join())
    const page = read('metadata.md')
    for (const prefix of prefixes) assert.ok(page.includes(`\`${prefix}\``), prefix)
  })
})
