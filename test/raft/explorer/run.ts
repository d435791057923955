import { performance } from 'node:perf_hooks'
import { KeelsonError } from '../../../src/core/errors.ts'
import { type ExplorationProgress, explore } from '../../../src/simulation/explore.ts'
import type { CoreClass } from '../support/cluster.ts'
import { RaftModel } from './model.ts'
import { printPath } from './print.ts'
import type { NamedBounds } from './worlds.ts'

/** What came of one world, as plain data. */
export interface WorldReport extends ExplorationProgress {
  readonly name: string
  readonly complete: boolean
  readonly seconds: number
  readonly collisionProbability: number
  /** Different states of one replica, and different messages. */
  readonly members: number
  readonly messages: number
  readonly violation:
    | {
        readonly invariant: string
        readonly message: string
        readonly steps: number
        readonly trace: readonly string[]
      }
    | undefined
}

export interface RunOptions {
  readonly Core?: CoreClass | undefined
  readonly symmetry?: boolean
  readonly seconds?: number | undefined
  readonly maximumStates?: number | undefined
  readonly bits?: 64 | 128
  readonly onDepth?: ((progress: ExplorationProgress) => void) | undefined
}

/** Explores one world. */
export function runWorld({ name, bounds }: NamedBounds, options: RunOptions = {}): WorldReport {
  const { Core, seconds = Number.POSITIVE_INFINITY, maximumStates } = options
  const model = new RaftModel(bounds, {
    ...(Core === undefined ? {} : { Core }),
    symmetry: options.symmetry ?? true,
  })
  const startedMs = performance.now()
  const elapsed = (): number => (performance.now() - startedMs) / 1000
  const { violation, ...result } = explore(model, {
    ...(maximumStates === undefined ? {} : { maximumStates }),
    fingerprintBits: options.bits ?? 64,
    stop: () => elapsed() > seconds,
    onDepth: options.onDepth,
  })
  return {
    ...result,
    ...model.sizes,
    name,
    seconds: elapsed(),
    violation: violation && {
      ...describe(violation.error),
      steps: violation.path.length,
      trace: printPath(model, violation.path),
    },
  }
}

function describe(error: unknown): { invariant: string; message: string } {
  const message = error instanceof Error ? error.message : String(error)
  const invariant = KeelsonError.is(error) ? error.details.invariant : undefined
  if (typeof invariant === 'string') return { invariant, message }
  const asserted = KeelsonError.hasCode(error, 'INVARIANT_VIOLATED')
  return { invariant: asserted ? 'assertions of the core' : 'exception', message }
}
