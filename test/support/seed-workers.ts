import { Worker } from 'node:worker_threads'

/** Seeds to run, and who runs them. */
export interface SeedWork<Run> {
  /** The program of the workers: takes a run as a message and answers with its report. */
  readonly program: URL
  readonly workerData?: string
  readonly first: number
  readonly seeds: number
  readonly workers: number
  readonly runOf: (seed: number) => Run
}

/** Runs seeds in workers; each gets the next one when it has finished one. Fails with the seed that ended its worker. */
export async function runSeeds<Run, Report>(
  work: SeedWork<Run>,
  onReport: (report: Report) => void,
): Promise<void> {
  const { program, workerData, first, seeds, workers, runOf } = work
  let next = first
  const end = first + seeds
  const loop = async (): Promise<void> => {
    const worker = new Worker(program, { workerData })
    try {
      while (next < end) {
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
