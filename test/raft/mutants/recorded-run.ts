import type { RecordedFault } from '../../../src/simulation/faults.ts'
import type { Schedule } from '../simulation/world.ts'

/** A run that shows a bug: its seed, what broke, and those of the seed's faults that it takes. */
export interface RecordedRun {
  readonly seed: number
  /** Name of the invariant that broke. */
  readonly invariant: string
  /** All faults of the seed where it is undefined. */
  readonly schedule?: Schedule | undefined
}

const wordBits = 32

/** One line of text: `12 | liveness | 4000 | leader cut off @ 812.25 # 32 hexadecimal digits | …`. */
export function encodeRun({ seed, invariant, schedule }: RecordedRun): string {
  if (schedule === undefined) return `${seed} | ${invariant}`
  const faults = schedule.faults.map(({ kind, atMs, random }) => {
    const words = random.map((word) => word.toString(16).padStart(wordBits / 4, '0'))
    return `${kind} @ ${atMs} # ${words.join('')}`
  })
  return [seed, invariant, schedule.faultPhaseMs ?? 'all', ...faults].join(' | ')
}

/** The reverse of {@link encodeRun}. */
export function decodeRun(text: string): RecordedRun {
  const [seed = '', invariant = '', phase, ...faults] = text.split(' | ')
  const run = { seed: Number(seed), invariant }
  if (phase === undefined) return run
  const faultPhaseMs = phase === 'all' ? undefined : Number(phase)
  return { ...run, schedule: { faultPhaseMs, faults: faults.map(decodeFault) } }
}

function decodeFault(text: string): RecordedFault {
  const [, kind = '', atMs = '', words = ''] = /^(.*) @ (.*) # ([0-9a-f]{32})$/.exec(text) ?? []
  const random = Array.from({ length: 4 }, (_, i) => Number.parseInt(words.slice(8 * i, 8 * i + 8), 16))
  return { kind, atMs: Number(atMs), random }
}
