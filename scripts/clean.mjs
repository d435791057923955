import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
for (const folder of ['dist', 'build', 'coverage', '.cache'])
  rmSync(join(root, folder), { recursive: true, force: true })
