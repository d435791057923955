// Writes the table of error codes in docs/errors.md from src/core/errors.ts, where each code is documented.
// `--check` writes nothing and fails when the table is out of date (a test runs that).

import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const page = join(root, 'docs', 'errors.md')
const source = readFileSync(join(root, 'src', 'core', 'errors.ts'), 'utf8')

const union = /export type ErrorCode =\n([\s\S]*?)\n\n/.exec(source)?.[1] ?? ''
const meanings = [...union.matchAll(/\/\*\*([\s\S]*?)\*\/\s*\| '([A-Z_]+)'/g)].map(([, comment, code]) => ({
  code,
  meaning: comment
    .replace(/^\s*\*/gm, ' ')
    .replace(/\s+/g, ' ')
    .trim(),
}))

const kinds = new Map(
  [...source.matchAll(/^const (\w+): ErrorTraits = (\{.*\})$/gm)].map(([, name, traits]) => [name, traits]),
)
const table = /export const errorTraits[^{]*\{\n([\s\S]*?)\n\}\)/.exec(source)?.[1] ?? ''
const traits = new Map(
  [...table.matchAll(/^ {2}([A-Z_]+): (\w+|\{.*\}),$/gm)].map(([, code, kind]) => {
    const text = kinds.get(kind) ?? kind
    const outcome = /outcome: '(\w+)'/.exec(text)?.[1]
    return [code, { retryable: text.includes('retryable: true'), outcome }]
  }),
)

const codes = (union.match(/\| '/g) ?? []).length
if (codes === 0 || meanings.length !== codes || traits.size !== codes) {
  console.error(
    `src/core/errors.ts has ${codes} codes, ${meanings.length} with a comment and ${traits.size} with traits`,
  )
  process.exit(1)
}

const rows = meanings
  .sort((a, b) => (a.code < b.code ? -1 : 1))
  .map(({ code, meaning }) => {
    const { retryable, outcome } = traits.get(code)
    return [`\`${code}\``, retryable ? 'yes' : 'no', outcome, meaning]
  })
const cells = [['code', 'retryable', 'outcome', 'meaning'], ...rows]
// Columns are padded as the formatter does it.
const widths = [0, 1, 2, 3].map((column) => Math.max(...cells.map((row) => row[column].length)))
const line = (row) => `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`
const [head, ...body] = cells.map(line)
const block = [head, line(widths.map((width) => '-'.repeat(width))), ...body].join('\n')

const before = readFileSync(page, 'utf8')
const after = before.replace(/(<!-- codes:[^\n]*-->\n)[\s\S]*(<!-- \/codes -->)/, `$1${block}\n$2`)
if (!after.includes(block)) {
  console.error('docs/errors.md has no place for the table of codes')
  process.exit(1)
}
if (!process.argv.includes('--check')) writeFileSync(page, after)
else if (after !== before) {
  console.error('docs/errors.md is out of date: run node scripts/error-table.mjs')
  process.exit(1)
}
