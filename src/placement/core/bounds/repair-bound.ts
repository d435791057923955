import { checkArray, checkObject } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import { showValue } from '../../../core/options.ts'
import { finish, type Sliced } from '../../../core/sliced.ts'

/** Copies that are looked at before others may go on. */
const copiesTogether = 1024

/** What {@link repairTimeBound} knows. */
export interface RepairTimeInput {
  /** From the failure until it is taken for one. */
  readonly detectionMs: number
  /** Bytes that each node can take in a second; 0 for one that takes nothing. */
  readonly ingress: readonly number[]
  /** Bytes that each node can give in a second. */
  readonly egress: readonly number[]
  /** What is missing: copies of so many bytes, and the nodes that a copy can come from. */
  readonly copies: readonly {
    /** Size of the copy. */
    readonly bytes: number
    /** Nodes that have the data, by number. */
    readonly sources: readonly number[]
    /** The node that the copy goes to, where that is decided. */
    readonly target?: number
  }[]
}

/** How long repair takes at least, and what holds it up. */
export interface RepairTimeBound {
  /** From the failure until everything has all its copies again. Infinity when that cannot be. */
  readonly ms: number
  /** What it comes from, in words. */
  readonly why: string
}

/**
 * The time that repair takes at least: until the failure is seen, and then the largest of what all nodes take in together,
 * what goes into one node, and what only one node can give.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function repairTimeBound(input: RepairTimeInput): RepairTimeBound {
  return finish(boundingRepairTime(input, (node) => `node ${node}`))
}

/** The same in small steps. @throws KeelsonError `INVALID_ARGUMENT` */
export function* boundingRepairTime(
  input: RepairTimeInput,
  nameOf: (node: number) => string,
): Sliced<RepairTimeBound> {
  checkObject(input, 'what a repair is made of', ['detectionMs', 'ingress', 'egress', 'copies'])
  const { detectionMs } = input
  if (!(detectionMs >= 0)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `detectionMs is a number from 0, not ${showValue(detectionMs)}`,
    )
  }
  const ingress = rates(input.ingress, 'ingress')
  const egress = rates(input.egress, 'egress')
  const into = ingress.map(() => 0)
  const outOf = egress.map(() => 0)
  let [all, looked] = [0, 0]
  for (const { bytes, sources, target } of checkArray(input.copies, 'the copies of a repair', 10_000_000)) {
    if (++looked % copiesTogether === 0) yield
    all += bytes
    if (target !== undefined) into[target] = (into[target] ?? 0) + bytes
    const [only] = sources
    if (sources.length === 1 && only !== undefined) outOf[only] = (outOf[only] ?? 0) + bytes
    if (sources.length === 0 && bytes > 0) {
      return { ms: Number.POSITIVE_INFINITY, why: 'of some data no copy is left' }
    }
  }
  const together = ingress.reduce((sum, each) => sum + each, 0)
  let best: RepairTimeBound = {
    ms: detectionMs + millis(all, together),
    why: 'what all nodes can take in together',
  }
  const raise = (
    amounts: readonly number[],
    limits: readonly number[],
    why: (node: number) => string,
  ): void => {
    amounts.forEach((bytes, node) => {
      const ms = detectionMs + millis(bytes, limits[node] ?? 0)
      if (ms > best.ms) best = { ms, why: why(node) }
    })
  }
  raise(into, ingress, (node) => `what ${nameOf(node)} is to take in`)
  raise(outOf, egress, (node) => `what only ${nameOf(node)} has`)
  return best
}

function rates(values: readonly number[], what: string): readonly number[] {
  checkArray(values, what, 1_000_000)
  const wrong = values.find((each) => !(each >= 0))
  if (wrong === undefined) return values
  throw new KeelsonError('INVALID_ARGUMENT', `${what} is bytes a second from 0, not ${showValue(wrong)}`)
}

function millis(bytes: number, perSecond: number): number {
  if (bytes === 0) return 0
  return perSecond === 0 ? Number.POSITIVE_INFINITY : (bytes / perSecond) * 1000
}
