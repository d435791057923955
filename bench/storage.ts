// Compares the log stores on the disk: `npm run bench -- storage [--part throughput|recovery|cleaning] [--seconds 0.5]
// [--rounds 5] [--gibibytes 1] [--directory /mnt/disk]`.
//
// The stores take turns, round by round, because a machine's disk changes its mind from minute to minute: the ratio of one
// round counts, not the figure.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measureCleaning } from './storage/cleaning.ts'
import { measureRecovery } from './storage/recovery.ts'
import { measureThroughput } from './storage/throughput.ts'

const { values } = parseArgs({
  options: {
    part: { type: 'string' },
    seconds: { type: 'string', default: '0.5' },
    rounds: { type: 'string', default: '5' },
    gibibytes: { type: 'string', default: '1' },
    directory: { type: 'string', default: tmpdir() },
  },
})
const rounds = Number(values.rounds)
const bytes = Number(values.gibibytes) * 2 ** 30
const parts: Record<string, (root: string) => Promise<void>> = {
  throughput: (root) => measureThroughput(root, Number(values.seconds), rounds),
  recovery: (root) => measureRecovery(root, bytes, rounds),
  cleaning: (root) => measureCleaning(root, bytes),
}
for (const [name, measure] of Object.entries(parts)) {
  if (values.part !== undefined && values.part !== name) continue
  const root = await mkdtemp(join(values.directory, 'keelson-bench-'))
  try {
    await measure(root)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}
