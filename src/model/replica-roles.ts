import type { ReplicaDescriptor, ReplicaRole } from './descriptors.ts'

/** All roles that a replica can have. */
export const replicaRoles: readonly ReplicaRole[] = Object.freeze([
  'voter',
  'learner',
  'incoming',
  'outgoing',
  'demoting',
])

/**
 * Whether a replica counts in the voters that a group is to have: those of its configuration, or of the incoming half of a
 * joint one.
 */
export function votesInIncoming({ role }: Pick<ReplicaDescriptor, 'role'>): boolean {
  return role === 'voter' || role === 'incoming'
}

/**
 * Whether a replica counts in the voters that a group had: the outgoing half of a joint configuration. Of one that is not
 * joint these are the same as those of {@link votesInIncoming}.
 */
export function votesInOutgoing({ role }: Pick<ReplicaDescriptor, 'role'>): boolean {
  return role === 'voter' || role === 'outgoing' || role === 'demoting'
}

/** Whether a replica votes in either half. */
export function votesInAnyHalf({ role }: Pick<ReplicaDescriptor, 'role'>): boolean {
  return role !== 'learner'
}

/** Whether two sets of voters count: some replica votes in one half only. */
export function isJoint(replicas: readonly Pick<ReplicaDescriptor, 'role'>[]): boolean {
  return replicas.some(({ role }) => role !== 'voter' && role !== 'learner')
}
