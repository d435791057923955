import type {
  ObservedReplica,
  RangeHost,
  RangeHostCall,
  WantedRange,
} from '../../../src/interfaces/range-host.ts'
import type { MemoryDataPlane } from './data-plane.ts'

/** One node's hands on the data plane. */
export class MemoryRangeHost implements RangeHost {
  readonly #plane: MemoryDataPlane
  readonly #nodeId: string
  #wanted: readonly WantedRange[] = []

  constructor(plane: MemoryDataPlane, nodeId: string) {
    this.#plane = plane
    this.#nodeId = nodeId
  }

  async reconcile(wanted: readonly WantedRange[], _call: RangeHostCall): Promise<void> {
    this.#wanted = wanted
    this.drive()
  }

  /** What is wanted is looked at again and again, since this node may have become the leader meanwhile. */
  drive(): void {
    this.#plane.refresh(this.#nodeId)
    for (const range of this.#wanted) {
      if (range.bootstrap) this.#plane.bootstrap(range)
      if (range.member) {
        this.#plane.told(this.#nodeId, range)
        this.#plane.change(this.#nodeId, range)
      } else this.#plane.drop(this.#nodeId, range)
    }
  }

  observe(): readonly ObservedReplica[] {
    return this.#plane.observe(this.#nodeId)
  }
}
