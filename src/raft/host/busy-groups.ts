import { KeelsonError } from '../../core/errors.ts'
import type { GroupId } from '../../model/ids.ts'

/** Groups that are being opened or destroyed: one thing at a time is done with each. */
export class BusyGroups {
  readonly #busy = new Set<GroupId>()
  /** What is done with them, until it has ended, well or not. */
  readonly #tasks = new Set<Promise<void>>()

  get size(): number {
    return this.#busy.size
  }

  has(groupId: GroupId): boolean {
    return this.#busy.has(groupId)
  }

  async run<T>(groupId: GroupId, task: () => Promise<T>): Promise<T> {
    this.#busy.add(groupId)
    const work = task()
    const end = work.then(
      () => {},
      () => {},
    )
    this.#tasks.add(end)
    try {
      return await work
    } finally {
      this.#busy.delete(groupId)
      this.#tasks.delete(end)
    }
  }

  /** Resolves when nothing is under way that was when it was called. */
  async idle(): Promise<void> {
    await Promise.all(this.#tasks)
  }
}

/** Somebody else has the group, or is about to. */
export function inUse(groupId: GroupId): KeelsonError {
  return new KeelsonError(
    'CONFLICT',
    `group ${groupId} is open here already, or is being opened or closed; use the group that is open`,
  )
}
