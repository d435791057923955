import type { BoundRule } from '../goals/goal.ts'

/** All limits of all rules as one column. @internal */
export class Limits {
  /** nodes × resources. */
  readonly limit: Float64Array
  /** By resource, 1 where a replica that goes holds its share until it has been copied. */
  readonly transient: Uint8Array

  constructor(nodeCount: number, width: number) {
    this.limit = new Float64Array(nodeCount * width).fill(Number.POSITIVE_INFINITY)
    this.transient = new Uint8Array(width)
  }

  /** Takes in the limits of a rule that is nothing else; false: it has to be asked by itself. */
  take(rule: BoundRule): boolean {
    if (rule.limits === undefined) return false
    const { limit, transient } = rule.limits
    const limited = transient.map((_, r) => {
      for (let at = r; at < limit.length; at += transient.length) {
        if (limit[at] !== Number.POSITIVE_INFINITY) return 1
      }
      return 0
    })
    const own = this.limit.some((each) => each !== Number.POSITIVE_INFINITY)
    // What one rule counts while it is copied and another does not cannot be one column.
    if (own && limited.some((is, r) => is === 1 && transient[r] !== this.transient[r])) return false
    for (let at = 0; at < limit.length; at++) {
      this.limit[at] = Math.min(this.limit[at] as number, limit[at] as number)
    }
    for (let r = 0; r < transient.length; r++) {
      if (limited[r] === 1) this.transient[r] = transient[r] as number
    }
    return true
  }
}
