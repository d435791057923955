import { checkOptions, integerOption } from '../core/options.ts'

/**
 * Finds out which parts of a schedule matter: leaves out as much of it as it can while `fails` still says yes. What is
 * returned fails, and unless the runs have come to an end, fails no more without any single part of it. In the order given.
 *
 * The algorithm is ddmin of Zeller and Hildebrandt (Simplifying and Isolating Failure-Inducing Input, 2002, section 3), of
 * the complements alone, after what is often all: nothing.
 *
 * @param parts that fail together; `fails` is not asked about all of them
 * @param fails runs with these parts; whether the failure that is looked for comes
 * @param options.maximumRuns how often `fails` is called at the most, 1,000 by default
 */
export function shrinkSchedule<T>(
  parts: readonly T[],
  fails: (parts: readonly T[]) => boolean,
  options: { readonly maximumRuns?: number } = {},
): readonly T[] {
  const { maximumRuns } = checkOptions<{ readonly maximumRuns: number }>('shrinkSchedule', options, {
    maximumRuns: integerOption({ min: 0, fallback: 1_000 }),
  })
  let runs = 0
  const stillFails = (some: readonly T[]): boolean => runs++ < maximumRuns && fails(some)
  if (parts.length === 0 || stillFails([])) return []
  let kept = parts
  let pieces = Math.min(2, kept.length)
  while (kept.length > 1 && runs < maximumRuns) {
    const smaller = withoutOne(kept, pieces, stillFails)
    if (smaller !== undefined) {
      kept = smaller
      pieces = Math.min(Math.max(2, pieces - 1), kept.length)
    } else if (pieces === kept.length) break
    else pieces = Math.min(2 * pieces, kept.length)
  }
  return kept
}

/** All but one of so many pieces of equal length, if that fails too. */
function withoutOne<T>(
  parts: readonly T[],
  pieces: number,
  fails: (parts: readonly T[]) => boolean,
): readonly T[] | undefined {
  for (let piece = 0; piece < pieces; piece++) {
    const from = Math.floor((piece * parts.length) / pieces)
    const to = Math.floor(((piece + 1) * parts.length) / pieces)
    const rest = [...parts.slice(0, from), ...parts.slice(to)]
    if (fails(rest)) return rest
  }
  return undefined
}
