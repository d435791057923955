// Runs the compiled benchmarks (bench/name.ts): `npm run bench` for all of them, `npm run bench -- raft --seconds 3` for
// those whose name contains a word. Options go to the benchmarks. Only ratios taken in one run, in turn, mean much on a
// machine that is shared.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'))

const first = process.argv.findIndex((argument, i) => i >= 2 && argument.startsWith('-'))
const words = process.argv.slice(2, first < 0 ? undefined : first)
const options = first < 0 ? [] : process.argv.slice(first)

const folder = join('build', 'bench')
const files = existsSync(folder)
  ? readdirSync(folder)
      .filter((file) => file.endsWith('.js'))
      .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
      .sort()
  : []
if (files.length === 0) {
  console.error(words.length === 0 ? `no benchmark in ${folder}` : `no benchmark matches ${words.join(' ')}`)
  process.exit(1)
}
for (const file of files) {
  const result = spawnSync(process.execPath, ['--enable-source-maps', join(folder, file), ...options], {
    stdio: 'inherit',
  })
  if (result.status !== 0) process.exit(result.status ?? 1)
}
