// The tests run build/src and the users run dist/: first, both have to be the same code, byte for byte.
//
// Then packs the package as `npm publish` would and judges the tarball: publint (what package.json promises is there), attw
// (every subpath's types resolve the way its code does), and an installation that imports every subpath.

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
process.chdir(root)

const { name, exports, dependencies, bin } = JSON.parse(readFileSync('package.json', 'utf8'))
const folder = mkdtempSync(join(tmpdir(), `${name}-package-`))
let failed = false
try {
  compareOutputs('dist', join('build', 'src'))

  const packed = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    capture: true,
  })
  const report = JSON.parse(packed)
  const { filename, files, size } = Array.isArray(report) ? report[0] : Object.values(report)[0]
  const tarball = join(folder, filename)
  console.log(`${filename}: ${files.length} files, ${(size / 1024).toFixed(0)} KiB`)

  const tool = (...path) => join(root, 'node_modules', ...path)
  run(process.execPath, [tool('publint', 'src', 'cli.js'), 'run', tarball, '--strict'])
  run(process.execPath, [
    tool('@arethetypeswrong', 'cli', 'dist', 'index.js'),
    tarball,
    '--profile',
    'esm-only',
    '--no-emoji',
  ])

  // Unpacked where a user's application would have it, with nothing but the declared dependencies beside it.
  const modules = join(folder, 'application', 'node_modules')
  mkdirSync(join(modules, name), { recursive: true })
  run('tar', ['-xzf', tarball, '--strip-components=1', '-C', join(modules, name)])
  for (const dependency of Object.keys(dependencies)) symlinkSync(tool(dependency), join(modules, dependency))
  const names = Object.keys(exports)
    .filter((subpath) => !subpath.includes('*') && !subpath.endsWith('.json'))
    .map((subpath) => name + subpath.slice(1))
  const script = join(folder, 'application', 'import-all.mjs')
  writeFileSync(
    script,
    `const addons = () => process.report.getReport().sharedObjects.filter((file) => file.endsWith('.node'))
    // The root entry first, and the one entry that needs an addon last.
    const names = ${JSON.stringify(names.sort((a, b) => Number(a.endsWith('/level')) - Number(b.endsWith('/level'))))}
    for (const name of names) {
      if (Object.keys(await import(name)).length === 0) throw new Error(name + ' exports nothing')
      if (addons().length > 0 && name !== '${name}/storage/level') throw new Error(name + ' loads ' + addons())
    }
    const open = await import('${name}/internal/x').then(() => true, () => false)
    if (open) throw new Error('${name}/internal/* can be imported')
    // Nothing may be started by an import alone.
    const active = process.getActiveResourcesInfo().filter((kind) => /Timeout|Immediate|TCP|UDP|Worker/.test(kind))
    if (active.length > 0) throw new Error('the imports alone started ' + active)
    console.log('all ' + names.length + ' subpaths can be imported')`,
  )
  run(process.execPath, [script])
  checkCommands(join(modules, name), folder)
} catch (error) {
  failed = true
  console.error(error instanceof Error ? error.message : error)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
if (failed) process.exit(1)

function run(command, argumentList, { capture = false } = {}) {
  const result = spawnSync(command, argumentList, {
    stdio: ['ignore', capture ? 'pipe' : 'inherit', 'inherit'],
    encoding: 'utf8',
  })
  if (result.error !== undefined) throw result.error
  if (result.status !== 0)
    throw new Error(`failed: ${[command, ...argumentList].join(' ').replaceAll(`${root}/`, '')}`)
  return result.stdout
}

/** The commands run where an installation has them, by a link as npm makes it, and say what is wrong in one line. */
function checkCommands(installed, working) {
  for (const [command, file] of Object.entries(bin)) {
    const link = join(working, command)
    symlinkSync(join(installed, file), link)
    // So does whoever installs a package.
    chmodSync(link, 0o755)
    const asked = (...words) => spawnSync(link, words, { cwd: working, encoding: 'utf8' })
    const help = asked('--help')
    if (help.status !== 0 || !help.stdout.includes(`${command} inspect`))
      throw new Error(`${command} --help ended with ${help.status ?? help.error}: ${help.stderr}`)
    const log = `segments:${join(working, 'nothing')}`
    const wrong = asked(
      'inspect',
      '--cluster',
      'c',
      '--node',
      'n',
      '--log',
      log,
      '--database',
      join(working, 'none'),
    )
    if (wrong.status === 0 || wrong.stderr.trim().split('\n').length !== 1)
      throw new Error(`${command} inspect of nothing ended with ${wrong.status}: ${wrong.stderr}`)
    console.log(`${command} runs as installed: ${wrong.stderr.trim()}`)
  }
}

function compareOutputs(published, tested) {
  const scripts = (path) =>
    readdirSync(path, { recursive: true })
      .filter((file) => file.endsWith('.js'))
      .sort()
  const names = scripts(published)
  if (names.join() !== scripts(tested).join())
    throw new Error(`${published} and ${tested} hold different files`)
  for (const file of names) {
    const same = readFileSync(join(published, file)).equals(readFileSync(join(tested, file)))
    if (!same) throw new Error(`${join(published, file)} differs from ${join(tested, file)}: npm run clean`)
  }
  console.log(`${published} and ${tested} are the same ${names.length} files`)
}
