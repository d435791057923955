import type { ReplicaMetrics } from '../../../src/raft/group/replica-metrics.ts'

/** For a replica whose metrics nobody looks at. */
export const ignoredMetrics: ReplicaMetrics = {
  serves: () => {},
  leadership: () => {},
  quarantined: () => {},
  proposed: () => {},
  readAsked: () => {},
  readAtOnce: () => {},
}
