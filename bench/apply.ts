// What it costs to apply puts: `npm run bench -- apply [--kinds overwrite,ordered,random,watched,compacted] [--puts 400000]
//   [--outstanding 256] [--rounds 5]`
//
// A client puts 100 bytes under each key, and the log that comes of it is applied again and again, each time by a server that
// has nothing but that log: Raft's applier with the client sessions, the state machine, and the image of its state on the disk.
// What is printed is the processor time of this process, of all its threads.
//
//   overwrite   1,000 keys in turn
//   ordered     a fresh key each time, in order
//   random      a fresh key each time, anywhere
//   watched     as overwrite, and a watch is told of all of it, with the previous values
//   compacted   as overwrite, and only 10,000 revisions are kept

import { utf8 } from 'keelson/core'
import { record, replay } from './apply/replay.ts'
import { median } from './raft/load.ts'
import { commandLine, list, wholeNumber } from './support/command-line.ts'

const kinds = ['overwrite', 'ordered', 'random', 'watched', 'compacted'] as const
type Kind = (typeof kinds)[number]

const values = commandLine({
  call: 'npm run bench -- apply',
  about:
    'What it costs to apply puts: log entries of a client, applied by a server that has nothing but the log.',
  flags: {
    kinds: list(kinds, kinds.join(), 'what is put'),
    puts: wholeNumber(400_000, 'in the log'),
    outstanding: wholeNumber(256, 'puts at a time while the log is made'),
    rounds: wholeNumber(5, 'of which the median is printed; one more comes before them'),
  },
})

function keyOf(kind: Kind, put: number): Uint8Array {
  if (kind === 'ordered') return utf8(`/bench/${String(put).padStart(9, '0')}`)
  // A permutation of the 32-bit numbers.
  if (kind === 'random')
    return utf8(`/bench/${(Math.imul(put, 0x9e3779b1) >>> 0).toString(16).padStart(9, '0')}`)
  return utf8(`/bench/${String(put % 1000).padStart(6, '0')}`)
}

console.log('kind         µs/put   worst round')
for (const kind of kinds) {
  if (!values.kinds.includes(kind)) continue
  const { puts, rounds, outstanding } = values
  const history = kind === 'compacted' ? 10_000 : 100_000
  const recording = await record((put) => keyOf(kind, put), puts, outstanding, history)
  const figures: number[] = []
  const digests = new Set<string>()
  for (let round = 0; round <= rounds; round++) {
    const { cpuMicroseconds, digest } = await replay(recording, kind === 'watched')
    digests.add(digest)
    if (round > 0) figures.push(cpuMicroseconds / puts)
  }
  if (digests.size !== 1) throw new Error(`the states differ: ${[...digests].join()}`)
  console.log(
    `${kind.padEnd(12)}${median(figures).toFixed(2).padStart(7)}${Math.max(...figures)
      .toFixed(2)
      .padStart(14)}`,
  )
}
