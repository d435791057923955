// Compares the log stores on the disk: `npm run bench -- storage [--part throughput|recovery|cleaning] [--seconds 0.5]
// [--rounds 5] [--gibibytes 1] [--directory /mnt/disk]`.
//
// The stores take turns, round by round, because a machine's disk changes its mind from minute to minute: the ratio of one
// round counts, not the figure.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { measureCleaning } from './storage/cleaning.ts'
import { measureRecovery } from './storage/recovery.ts'
import { measureThroughput } from './storage/throughput.ts'
import { amount, choice, commandLine, wholeNumber, word } from './support/command-line.ts'

const values = commandLine({
  call: 'npm run bench -- storage',
  about: 'Compares the log stores on the disk, in turn: the ratios of one round count, not the figures.',
  flags: {
    part: choice(['throughput', 'recovery', 'cleaning'], undefined, 'only this part'),
    seconds: amount(0.5, 'of writing for each figure of the throughput'),
    rounds: wholeNumber(5, 'of all stores in turn'),
    gibibytes: amount(1, 'size of the log that is opened, and of what is cleaned'),
    directory: word(tmpdir(), 'DIR', 'on the disk to be measured'),
  },
})
const { rounds } = values
const bytes = values.gibibytes * 2 ** 30
const parts: Record<string, (root: string) => Promise<void>> = {
  throughput: (root) => measureThroughput(root, values.seconds, rounds),
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
