// Experiments in virtual time; see bench/swim.ts, which runs them.

import { commandLine } from '../../../bench/support/command-line.ts'
import { swimProgram } from '../../../bench/swim/program.ts'
import type { HoldUp } from './hold-up.ts'
import { type GridName, lifeguard, reportLifeguard } from './lifeguard.ts'
import { rapid } from './rapid.ts'
import { scale } from './scale.ts'

const values = commandLine(swimProgram)
const { only, cases, file } = values
const [part = 0, parts = 0] = values.slice.split('/').map(Number)
if (!(part >= 1 && part <= parts)) {
  console.error(
    `--slice takes K/N, as in 1/4, not '${values.slice}'; \`${swimProgram.call} --help\` lists what can be said`,
  )
  process.exit(2)
}
const members = values.members.map(Number)

if (only.includes('lifeguard')) {
  const heldUp = {
    hold: values.hold[0] as HoldUp['hold'],
    packetMs: values['packet-ms'],
    wakeMs: values['wake-ms'],
  }
  if (values.report) reportLifeguard(file, heldUp)
  else {
    lifeguard({
      file,
      part,
      parts,
      minutes: values.minutes,
      repetitions: values.repetitions,
      only: values.configurations,
      grid: values.grid[0] as GridName,
      heldUp,
    })
  }
}
if (only.includes('rapid')) rapid(cases, members[0] ?? 1_000)
if (only.includes('scale')) scale(cases, members.length === 0 ? [100, 1_000] : members)
