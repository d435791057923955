// Compiles the sources to dist/ (published) and everything to build/ (tests, benchmarks and examples beside their own copy
// of the sources), both at once.
//
// The tests import the sources by relative path and the examples import `keelson/...` by name; both must get the same
// module instances, or a class that a test patches is not the one an example runs. So build/ is a package of its own:
// Node resolves a package's own name through the nearest package.json, and the one written here points into build/src.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
process.chdir(root)

const started = performance.now()
const codes = await Promise.all([compile('tsconfig.dist.json'), compile('tsconfig.json')])
// An incremental compiler does not delete what it wrote for a file that is gone, and a stale test would still run.
prune('dist', 'src')
for (const folder of ['src', 'test', 'bench', 'examples']) prune(join('build', folder), folder)
writeManifest()
if (codes.some((code) => code !== 0)) process.exit(1)
console.log(`built dist/ and build/ in ${((performance.now() - started) / 1000).toFixed(1)} s`)

function compile(project) {
  const compiler = join('node_modules', '@typescript', 'native', 'bin', 'tsc')
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [compiler, '--project', project, '--pretty', 'false'], {
      stdio: 'inherit',
    })
    child.on('error', reject)
    child.on('exit', (code) => resolve(code ?? 1))
  })
}

/** Deletes every output whose source file no longer exists, and the folders that this leaves empty. */
function prune(output, source) {
  if (!existsSync(output)) return
  const entries = readdirSync(output, { withFileTypes: true })
  for (const entry of entries) {
    const path = join(output, entry.name)
    if (entry.isDirectory()) {
      prune(path, join(source, entry.name))
      continue
    }
    const stem = /^(.+?)(?:\.d\.ts|\.js)(?:\.map)?$/.exec(entry.name)?.[1]
    if (stem !== undefined && !existsSync(join(source, `${stem}.ts`))) rmSync(path)
  }
  if (readdirSync(output).length === 0) rmdirSync(output)
}

function writeManifest() {
  const { name, version, type, exports } = JSON.parse(readFileSync('package.json', 'utf8'))
  const manifest = {
    name,
    version,
    private: true,
    type,
    exports: JSON.parse(JSON.stringify(exports).replaceAll('"./dist/', '"./src/')),
  }
  const path = join('build', 'package.json')
  const text = `${JSON.stringify(manifest, null, 2)}\n`
  // Only when it changes: a process that runs from build/ may be reading it.
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return
  mkdirSync('build', { recursive: true })
  writeFileSync(path, text)
}
