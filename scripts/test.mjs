// Runs the compiled tests with Node's own runner: `npm test`, or `npm test -- raft storage/level` for the test files whose
// path contains one of the words; `npm test -- '!simulation'` for those whose path does not contain the word. Options of the runner
// pass through: `npm test -- raft --test-name-pattern=vote`.
//
// The files are listed here because `node --test` of Node 20 expands no glob, and because a filter that matches nothing
// must be a failure and not a green run of zero tests. The runner starts a process for each file that it is given, and a third of a second
// to a second of each goes into loading what the tests import; most files need less than that for their tests. So the runner is given
// entries that import several files each. It starts them in the order of their names: what takes longest comes first, for no core to be
// idle at the end.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The files that take longer than about five seconds, the longest first: each has a process of its own. */
const long = [
  'raft/hosts/hosts',
  'control-plane/composition',
  'raft/simulation/simulation',
  'raft/explorer/explorer',
  'raft/hosts/bugs',
  'swim/mutants',
  'control-plane/mutants',
  'raft/processes',
  'placement/simulate/overload',
  'control-plane/more-mutants',
  'placement/incremental',
  'swim/simulation',
  'placement/moves-simulation',
  'placement/turns',
  'placement/mover',
  'raft/host/reads-truth',
  'raft/mutants/membership-bugs',
  'placement/mutants',
  'raft/host/forwarding-truth',
  'storage/level/log',
  'raft/host/chaos',
  'metadata/server/faults',
  'raft/mutants/lease-bugs',
  'storage/segments/segments',
  'placement/operations',
  'raft/mutants/rest-bugs',
  'raft/mutants/recovery-bugs',
  'raft/mutants/core-bugs',
  'raft/core/mutants',
  'placement/core/goals/properties',
  'raft/host/splits-truth',
  'control-plane/placement-seam',
  'metadata/mvcc/state-machine',
  'placement/replica-sets/mutants',
  'placement/simulate/fleet-simulation',
  'raft/host/damage-and-recovery',
  'raft/simulation/events',
  'raft/host/disk-faults',
  'storage/segments/simulated',
  'storage/segments/swarm',
  'metadata/server/compliance',
  'placement/planner',
  'raft/core/chaos',
  'leases/simulation',
  'control-plane/refounding',
  'raft/host/disk-lives',
  'raft/mutants/host-bugs',
]
/** Some leave stores open as a killed process does, whose timers must not fire inside a simulation of another file. */
const apart = ['storage/segments/boundaries', 'storage/segments/faults', 'storage/segments/witness']
/** Files that share a process at the most: what one of them breaks, the others may show. */
const filesPerProcess = 16

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

const stale = [...long, ...apart].filter((file) => !every.includes(inBuild(file)))
if (every.length > 0 && stale.length > 0) {
  console.error(`scripts/test.mjs lists files that are not there: ${stale.join(', ')}`)
  process.exit(1)
}
if (files.length === 0) {
  console.error(said.length === 0 ? `no test file in ${folder}` : `no test file matches ${said.join(' ')}`)
  process.exit(1)
}

const has = (name) => options.some((option) => option === name || option.startsWith(`${name}=`))
// The files are mostly processor-bound; one a core, and at least two so that one that waits holds up nobody.
const concurrency = Math.max(2, availableParallelism())
const defaults = [
  ...(has('--test-concurrency') ? [] : [`--test-concurrency=${concurrency}`]),
  // A test that hangs should be named, not found by the CI's own limit.
  ...(has('--test-timeout') ? [] : ['--test-timeout=300000']),
  // The default for a pipe differs between Node 20 and later.
  ...(has('--test-reporter') ? [] : ['--test-reporter=spec']),
]
const preload = `--import=${new URL('lean-test-hooks.mjs', import.meta.url)}`
// A folder for this run, so that two runs do not take away each other's entries.
const entries = join(folder, '..', 'test-entries', String(process.pid))
process.on('exit', () => rmSync(entries, { recursive: true, force: true }))
const groups = grouped(files)
const names = groups.map((group, at) => writeEntry(group, at))
console.error(`${files.length} test files in ${groups.length} processes; the first ones take longest`)

const child = spawn(
  process.execPath,
  ['--enable-source-maps', preload, '--test', ...defaults, ...options, ...names],
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

function inBuild(file) {
  return `build/test/${file}.test.js`
}

/** The files by process, in the order in which the processes start. */
function grouped(chosen) {
  const alone = [...long, ...apart].map(inBuild).filter((file) => chosen.includes(file))
  const short = chosen.filter((file) => !alone.includes(file))
  const each = Math.min(filesPerProcess, Math.ceil(short.length / concurrency))
  const shared = Array.from({ length: Math.ceil(short.length / each) || 0 }, (_, at) =>
    short.slice(at * each, (at + 1) * each),
  )
  return [...alone.map((file) => [file]), ...shared]
}

/** Writes the file that imports these, and returns its path. */
function writeEntry(group, at) {
  mkdirSync(entries, { recursive: true })
  const [first] = group
  const what = first.slice('build/test/'.length, -'.test.js'.length).replaceAll('/', '-')
  const path = join(
    entries,
    `${String(at).padStart(3, '0')}-${what}${group.length === 1 ? '' : '-and-more'}.test.js`,
  )
  const imports = group.map((file) => `import '${relative(entries, file).split(sep).join('/')}'\n`)
  writeFileSync(path, imports.join(''))
  return path
}
