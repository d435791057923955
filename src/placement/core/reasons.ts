import { type FlatSnapshot, nodeName } from './flat.ts'
import { replicaBits } from './snapshot.ts'
import type { RangeSurvey } from './survey.ts'

/** Why nothing can be done for a range at all. */
export function whyUnavailable(survey: RangeSurvey, snapshot: FlatSnapshot): string {
  const { voters, liveVoters, range } = survey
  if (voters === 0) return 'it has no voters yet'
  const { firstReplica, replicaNode, replicaStatus } = snapshot
  const silent: string[] = []
  for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
    const status = replicaStatus[i] as number
    if ((status & replicaBits.voter) !== 0 && (status & replicaBits.up) === 0) {
      silent.push(nodeName(snapshot, replicaNode[i] as number))
    }
  }
  return `only ${liveVoters} of ${voters} voters are alive, which is no quorum; it waits for ${silent.sort().join(', ')}`
}

/** Why a replica goes, whatever the reason. */
export function whyGoes(snapshot: FlatSnapshot, replica: number): string {
  const status = snapshot.replicaStatus[replica] as number
  if ((status & replicaBits.lost) !== 0) return whyLost(snapshot, replica)
  return (status & replicaBits.leaving) !== 0 ? whyLeaving(snapshot, replica) : whyEvicted(snapshot, replica)
}

/** Why a replica is lost. */
export function whyLost(snapshot: FlatSnapshot, replica: number): string {
  const node = snapshot.replicaNode[replica] as number
  if (node < 0) return 'a replica is on a node that nobody knows'
  const { liveness, state } = snapshot.nodes[node] as FlatSnapshot['nodes'][number]
  const name = nodeName(snapshot, node)
  if (state === 'decommissioned') return `${name} was decommissioned`
  return liveness === 'dead' ? `${name} is dead` : `${name} lost its disk`
}

/** Why a replica leaves its node. */
export function whyLeaving(snapshot: FlatSnapshot, replica: number): string {
  return `${nodeName(snapshot, snapshot.replicaNode[replica] as number)} is to be emptied`
}

/** Why a replica must not stay. */
export function whyEvicted(snapshot: FlatSnapshot, replica: number): string {
  const node = snapshot.replicaNode[replica] as number
  return `it must not be on ${nodeName(snapshot, node)}`
}
