// Runs the compiled tests with Node's own runner: `npm test`, or `npm test -- raft storage/level` for the test files whose
// path contains one of the words; `npm test -- '!simulation'` for those whose path does not contain the word. Options of the runner
// pass through: `npm test -- raft --test-name-pattern=vote`.
//
// The files are listed here because `node --test` of Node 20 expands no glob, and because a filter that matches nothing
// must be a failure and not a green run of zero tests.

import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'))

const options = process.argv.slice(2).filter((argument) => argument.startsWith('-'))
const said = process.argv.slice(2).filter((argument) => !argument.startsWith('-'))
const words = said.filter((word) => !word.startsWith('!'))
const unwanted = said.filter((word) => word.startsWith('!')).map((word) => word.slice(1))

const folder = join('build', 'test')
const every = existsSync(folder)
  ? readdirSync(folder, { recursive: true })
      .filter((file) => file.endsWith('.test.js'))
      .map((file) => join(folder, file).split(sep).join('/'))
      .sort()
  : []
const files = every
  .filter((file) => words.length === 0 || words.some((word) => matches(file, word)))
  .filter((file) => !unwanted.some((word) => matches(file, word)))

if (files.length === 0) {
  console.error(said.length === 0 ? `no test file in ${folder}` : `no test file matches ${said.join(' ')}`)
  process.exit(1)
}

const has = (name) => options.some((option) => option === name || option.startsWith(`${name}=`))
const defaults = [
  // The files are mostly processor-bound; one a core, and at least two so that one that waits holds up nobody.
  ...(has('--test-concurrency') ? [] : [`--test-concurrency=${Math.max(2, availableParallelism())}`]),
  // A test that hangs should be named, not found by the CI's own limit.
  ...(has('--test-timeout') ? [] : ['--test-timeout=300000']),
  // The default for a pipe differs between Node 20 and later.
  ...(has('--test-reporter') ? [] : ['--test-reporter=spec']),
]
const preload = `--import=${new URL('lean-test-hooks.mjs', import.meta.url)}`
const child = spawn(
  process.execPath,
  ['--enable-source-maps', preload, '--test', ...defaults, ...options, ...files],
  { stdio: 'inherit' },
)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', (code) => {
  process.exitCode = code ?? 1
})

/** A word is part of the path below test/, with or without the folder and with the source's or the output's ending. */
function matches(file, word) {
  const wanted = word
    .replace(/^\.\//, '')
    .replace(/^(build\/)?test\//, '')
    .replace(/\.ts$/, '.js')
  return file.slice('build/test/'.length).includes(wanted)
}
