// What membership costs, and how well it tells the dead from the slow: bench/swim/program.ts says what can be measured.
//
//   lifeguard   128 members of which some are held up: false positives and detection (Dadgar et al., 2018)
//   rapid       a bootstrap of 2,000, crashes, and members that lose most of what is sent to them (Suresh et al., 2018)
//   scale       100 to 10,000 members: detection, traffic, processor time, many joins, many deaths, a long split
//   sockets     members in processes on the loopback interface, some of which are killed
//   floor       bare sockets in one process that send as many packets as members at rest
//
// `npm run bench -- swim --only lifeguard [--file results.jsonl] [--slice 1/4] [--minutes 30] [--repetitions 10]
//   [--grid full|corners] [--configurations SWIM,Lifeguard] [--report]`
// `npm run bench -- swim --only rapid [--cases bootstrap,crashes,loss,flip-flop] [--members 1000]`
// `npm run bench -- swim --only scale [--members 100,1000] [--cases steady,joins,massacre,split]`
// `npm run bench -- swim --only sockets [--members 128] [--processes 16] [--settle 300]`
// `npm run bench -- swim --only floor [--members 64]`
//
// Lifeguard's grid takes hours: each run is a line in the file, so that slices can be run one after the other, by several
// processes (a file each; put the lines together), and stopped at any time. `--report` prints the tables of a file.

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { commandLine } from './support/command-line.ts'
import { swimProgram } from './swim/program.ts'
import { socketFloor } from './swim/socket-floor.ts'
import { sockets } from './swim/sockets.ts'

const { only, members, processes, settle } = commandLine(swimProgram)
const size = Number(members[0] ?? 128)

// What runs in virtual time lives with the simulator, among the tests.
if (only.some((name) => name !== 'sockets' && name !== 'floor')) {
  const program = fileURLToPath(new URL('../test/swim/experiments/main.js', import.meta.url))
  const options = [
    '--max-old-space-size=18000',
    '--max-semi-space-size=64',
    '--enable-source-maps',
    program,
    ...process.argv.slice(2),
  ]
  const { status } = spawnSync(process.execPath, options, { stdio: 'inherit' })
  if (status !== 0) process.exitCode = status ?? 1
}
if (only.includes('floor')) await socketFloor(size)
if (only.includes('sockets')) await sockets(size, processes, settle)
