import { KeelsonError } from '../../../src/core/errors.ts'
import { Forwarder } from '../../../src/raft/group/forwarder.ts'
import type { ForwardReply } from '../../../src/raft/group/forwarding.ts'
import type { PendingProposal } from '../../../src/raft/group/pending-proposals.ts'
import { Replica } from '../../../src/raft/group/replica.ts'

/** One bug, planted in how commands are forwarded. */
export interface ForwardingBug {
  readonly name: string
  /** The seed that caught it last; undefined for one that a scenario catches, as chance hardly ever does. */
  readonly seed?: number
  /** Plants it. @returns what takes it out again */
  readonly plant: () => () => void
}

function replace<T extends object, K extends keyof T>(prototype: T, name: K, method: T[K]): () => void {
  const before = prototype[name]
  prototype[name] = method
  return () => {
    prototype[name] = before
  }
}

/** Every bug that forwarded commands under faults must catch. */
export const forwardingBugs: readonly ForwardingBug[] = [
  {
    name: 'a command without an id is sent again when its outcome is unknown',
    seed: 4,
    plant: () => replace(Forwarder.prototype, 'mayRepeat', () => true),
  },
  {
    name: 'a leader that does not know what became of a command is taken to have refused it',
    plant: () => {
      const { answered } = Forwarder.prototype
      const refused = new KeelsonError('NOT_LEADER', 'planted')
      return replace(
        Forwarder.prototype,
        'answered',
        function broken(this: Forwarder, reply: ForwardReply, nowMs) {
          const isLost = KeelsonError.hasCode(reply.outcome, 'OUTCOME_UNKNOWN')
          answered.call(this, isLost ? { ...reply, outcome: refused } : reply, nowMs)
        },
      )
    },
  },
  {
    name: 'the refusal of an earlier attempt ends the present one',
    plant: () => replace(Forwarder.prototype, 'isOfThisAttempt', () => true),
  },
  {
    name: 'what was forwarded is forwarded again',
    seed: 1,
    plant: () => {
      const { proposalOf } = Replica.prototype
      return replace(Replica.prototype, 'proposalOf', function broken(this: Replica, message, settle) {
        return { ...proposalOf.call(this, message, settle), forward: 'once' }
      })
    },
  },
  {
    name: 'who gives up is told that nothing was done',
    seed: 1,
    plant: () => {
      const { abandon } = Forwarder.prototype
      return replace(
        Forwarder.prototype,
        'abandon',
        function broken(this: Forwarder, proposal: PendingProposal) {
          return abandon.call(this, proposal) === undefined ? undefined : 'none'
        },
      )
    },
  },
  {
    name: 'a next life numbers what it forwards as the one before did',
    plant: () => replace(Forwarder.prototype, 'drawId', () => 1),
  },
]
