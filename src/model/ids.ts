import { KeelsonError } from '../core/errors.ts'
import { type OptionCheck, showValue } from '../core/options.ts'

/** A cluster, fixed by its one bootstrap: up to 64 characters of a–z, 0–9, dot, dash and underscore. */
export type ClusterId = string

/**
 * Which founding of a cluster: the incarnation of the log store that bootstrapped it. An id can be given to two clusters,
 * when a server that has lost its disk is told to bootstrap a second time; their foundings differ.
 */
export type FoundingId = number

/** A process of the cluster, chosen by its operator; the same form as {@link ClusterId}. */
export type NodeId = string

/**
 * One life of a node's data directory: a positive safe integer drawn at random when the directory is created. A node
 * that comes back with a wiped disk has the old node id and a new incarnation, so nobody believes that it still has
 * what it once acknowledged.
 */
export type Incarnation = number

/** A Raft group: a positive safe integer, unique in its host. The group of a range has the range's id. */
export type GroupId = number

/** A range of the key space: a positive safe integer, never reused. */
export type RangeId = number

/**
 * A member of one Raft group, bound to (node, incarnation): the log index of the entry that added it, or 1…n for the
 * members of the bootstrap. Never reused in its group. Zero means nobody.
 */
export type ReplicaId = number

/** A table of the host's schema: a positive safe integer. */
export type TableId = number

const namePattern = /^[a-z0-9][a-z0-9._-]{0,63}$/

/** Checks the form of a cluster or node id. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkName(value: unknown, what: string): string {
  if (typeof value === 'string' && namePattern.test(value)) return value
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `${what} must be 1 to 64 characters of a-z, 0-9, '.', '-' and '_', starting with a letter or digit, not ${showValue(value)}`,
  )
}

/** {@link checkName} for an option. @throws KeelsonError `INVALID_OPTION` */
export const nameOption: OptionCheck<string> = (value, name) => asOption(() => checkName(value, name))

/** {@link checkId} for an option. @throws KeelsonError `INVALID_OPTION` */
export const idOption: OptionCheck<number> = (value, name) => asOption(() => checkId(value, name))

function asOption<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    throw new KeelsonError('INVALID_OPTION', (error as Error).message)
  }
}

/** Checks the form of a numeric id. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkId(value: unknown, what: string): number {
  if (Number.isSafeInteger(value) && (value as number) > 0) return value as number
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `${what} must be a positive safe integer, not ${showValue(value)}`,
  )
}
