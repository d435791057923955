// Runs every compiled example (examples/NN-name.ts), one after the other; each must end by itself with exit code 0.
// `npm run examples -- 03` runs those whose name contains the word.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'))

const words = process.argv.slice(2)
const folder = join('build', 'examples')
const files = existsSync(folder)
  ? readdirSync(folder)
      .filter((file) => /^\d\d-.*\.js$/.test(file))
      .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
      .sort()
  : []
if (files.length === 0) {
  console.error(words.length === 0 ? `no example in ${folder}` : `no example matches ${words.join(' ')}`)
  process.exit(1)
}

const failed = []
for (const file of files) {
  console.log(`\n── ${file}`)
  const started = performance.now()
  const result = spawnSync(process.execPath, ['--enable-source-maps', join(folder, file)], {
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: 120_000,
  })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  if (result.status === 0) {
    console.log(`── ${file} ended well after ${seconds} s`)
  } else {
    failed.push(file)
    const reason =
      result.error?.code === 'ETIMEDOUT'
        ? 'did not end within 120 s'
        : `exit ${result.status ?? result.signal}`
    console.error(`── ${file} FAILED after ${seconds} s: ${reason}`)
  }
}
console.log(`\n${files.length - failed.length} of ${files.length} examples ended well`)
if (failed.length > 0) process.exit(1)
