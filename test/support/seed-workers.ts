import { performance } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'
import { positive, wholeNumber } from '../../bench/support/command-line.ts'

/** Seeds to run, and who runs them. */
export interface SeedWork<Run> {
  /** The program of the workers: takes a run as a message and answers with its report. */
  readonly program: URL
  readonly workerData?: string
  readonly first: number
  readonly seeds: number
  /** After that long no other seed begins. */
  readonly seconds?: number | undefined
  readonly workers: number
  readonly runOf: (seed: number) => Run
}

/** How many seeds a program runs: so many, or as many as begin within a time. */
export const seedFlags = (fallback: number) =>
  ({
    seeds: wholeNumber(undefined, `how many: ${fallback}, or without end with --for`),
    for: positive(undefined, 'seconds after which no other seed begins'),
  }) as const

/** What was said of {@link seedFlags}. */
export function seedsOf(
  values: { readonly seeds: number | undefined; readonly for: number | undefined },
  fallback: number,
): { readonly seeds: number; readonly seconds: number | undefined } {
  const seeds = values.seeds ?? (values.for === undefined ? fallback : Number.POSITIVE_INFINITY)
  return { seeds, seconds: values.for }
}

/** Runs seeds in workers; each gets the next one when it has finished one. Fails with the seed that ended its worker. */
export async function runSeeds<Run, Report>(
  work: SeedWork<Run>,
  onReport: (report: Report) => void,
): Promise<void> {
  const { program, workerData, first, seeds, seconds = Number.POSITIVE_INFINITY, workers, runOf } = work
  let next = first
  const end = first + seeds
  const endMs = performance.now() + seconds * 1_000
  const loop = async (): Promise<void> => {
    const worker = new Worker(program, { workerData })
    try {
      while (next < end && performance.now() < endMs) {
        const seed = next++
        onReport(await ask<Run, Report>(worker, runOf(seed), seed))
      }
    } finally {
      await worker.terminate()
    }
  }
  await Promise.all(Array.from({ length: Math.min(workers, seeds) }, loop))
}

async function ask<Run, Report>(worker: Worker, run: Run, seed: number): Promise<Report> {
  return new Promise((resolve, reject) => {
    const done = (act: () => void): void => {
      worker.off('message', onMessage)
      worker.off('error', onError)
      act()
    }
    const onMessage = (report: Report): void => done(() => resolve(report))
    const onError = (error: unknown): void =>
      done(() => reject(new Error(`seed ${seed} ended its worker`, { cause: error })))
    worker.on('message', onMessage)
    worker.on('error', onError)
    worker.postMessage(run)
  })
}
