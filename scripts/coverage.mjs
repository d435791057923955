// npm run coverage: runs the tests of the Raft core and fails unless they go through each line, branch and function of it.
// There are no exceptions and no lines that are excluded: what no test reaches gets one, or goes. `-- --all` instead runs
// every test and prints what they cover of all sources, without a limit.
//
// Assertions are calls of `invariant()`, which has the branch, so that those that never fail hide nothing here.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
process.chdir(root)
const all = process.argv.includes('--all')
const covered = all ? 'src' : 'src/raft/core'
const folder = mkdtempSync(join(tmpdir(), 'keelson-coverage-'))

const { status } = spawnSync(
  process.execPath,
  [
    fileURLToPath(import.meta.resolve('c8/bin/c8.js')),
    '--exclude-after-remap',
    `--include=${covered}/**`,
    `--temp-directory=${join(folder, 'raw')}`,
    '--reporter=text',
    '--reporter=json-summary',
    `--reports-dir=${folder}`,
    ...(all ? [] : ['--100']),
    process.execPath,
    'scripts/test.mjs',
    '--test-reporter=dot',
    ...(all ? [] : ['raft/core']),
  ],
  { stdio: 'inherit' },
)
process.exitCode = status ?? 1

// A file that no test loads is not in the report at all.
const summary = JSON.parse(readFileSync(join(folder, 'coverage-summary.json'), 'utf8'))
rmSync(folder, { recursive: true })
const seen = new Set(Object.keys(summary).map((path) => relative(root, path).split(sep).join('/')))
const missing = readdirSync(covered, { recursive: true })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => `${covered}/${file.split(sep).join('/')}`)
  .filter((file) => !seen.has(file) && hasCode(join('build', file.replace(/\.ts$/, '.js'))))
if (missing.length > 0) {
  console.error(`never loaded: ${missing.join(', ')}`)
  if (!all) process.exitCode = 1
}

/** A file of types alone compiles to nothing. */
function hasCode(path) {
  const code = readFileSync(path, 'utf8').replace(/^\/\/.*$|\/\*[^]*?\*\//gm, '')
  return code.trim() !== 'export {};'
}
