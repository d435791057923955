import { KeelsonError } from '../../core/errors.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { GroupId } from '../../model/ids.ts'

/** Which state machine objects the groups of a host have. Two groups in one would overwrite each other's state. */
export class ClaimedMachines {
  readonly #owners = new Map<StateMachine, GroupId>()

  /** @throws KeelsonError `CONFLICT` when a group of this host has it, or is about to open it */
  checkFree(groupId: GroupId, machine: StateMachine): void {
    const owner = this.#owners.get(machine)
    if (owner === undefined) return
    throw new KeelsonError(
      'CONFLICT',
      `the state machine that was given for group ${groupId} is that of group ${owner}, which has it open; give each group a state machine of its own`,
      { retryable: false, details: { groupId, ownerGroupId: owner } },
    )
  }

  /** The machine is this group's until it is released; at once, when `open` fails. @throws KeelsonError `CONFLICT` */
  async during<T>(groupId: GroupId, machine: StateMachine, open: () => Promise<T>): Promise<T> {
    this.checkFree(groupId, machine)
    this.#owners.set(machine, groupId)
    try {
      return await open()
    } catch (error) {
      this.release(machine)
      throw error
    }
  }

  release(machine: StateMachine): void {
    this.#owners.delete(machine)
  }
}
