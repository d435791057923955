// Experiments in virtual time; see bench/swim.ts, which runs them.

import { parseArgs } from 'node:util'
import { type GridName, lifeguard, reportLifeguard } from './lifeguard.ts'
import { rapid } from './rapid.ts'
import { scale } from './scale.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    file: { type: 'string', default: 'lifeguard.jsonl' },
    slice: { type: 'string', default: '1/1' },
    minutes: { type: 'string', default: '30' },
    repetitions: { type: 'string', default: '10' },
    grid: { type: 'string', default: 'full' },
    configurations: { type: 'string', default: '' },
    report: { type: 'boolean', default: false },
    cases: { type: 'string', default: '' },
    members: { type: 'string', default: '' },
    processes: { type: 'string', default: '' },
    settle: { type: 'string', default: '' },
  },
})
const words = (text: string): string[] => text.split(',').filter((word) => word !== '')
const wanted = words(values.only)
const cases = words(values.cases)
const members = words(values.members).map(Number)

if (wanted.includes('lifeguard')) {
  if (values.report) reportLifeguard(values.file)
  else {
    lifeguard({
      file: values.file,
      slice: values.slice,
      minutes: Number(values.minutes),
      repetitions: Number(values.repetitions),
      only: words(values.configurations),
      grid: values.grid as GridName,
    })
  }
}
if (wanted.includes('rapid')) rapid(cases, members[0] ?? 1_000)
if (wanted.includes('scale')) scale(cases, members.length === 0 ? [100, 1_000] : members)
