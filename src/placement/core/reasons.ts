import { replicaBits } from './snapshot.ts'
import type { RangeSurvey } from './survey.ts'
import type { WorkingSet } from './working-set.ts'

/** Why nothing can be done for a range at all. */
export function whyUnavailable(survey: RangeSurvey, columns: WorkingSet): string {
  const { voters, liveVoters, range } = survey
  if (voters === 0) return 'it has no voters yet'
  const silent: string[] = []
  const end = columns.spareSlot(range)
  for (let slot = columns.firstSlot[range] as number; slot < end; slot++) {
    const status = columns.status[slot] as number
    if ((status & replicaBits.voter) !== 0 && (status & replicaBits.up) === 0) {
      silent.push(columns.nodeName(columns.store[slot] as number))
    }
  }
  return `only ${liveVoters} of ${voters} voters are alive, which is no quorum; it waits for ${silent.sort().join(', ')}`
}

/** Why a replica goes, whatever the reason. */
export function whyGoes(columns: WorkingSet, slot: number): string {
  const status = columns.status[slot] as number
  if ((status & replicaBits.lost) !== 0) return whyLost(columns, slot)
  return (status & replicaBits.leaving) !== 0 ? whyLeaving(columns, slot) : whyEvicted(columns, slot)
}

/** Why a replica is lost. */
export function whyLost(columns: WorkingSet, slot: number): string {
  const node = columns.store[slot] as number
  const view = columns.snapshot.stores[node]?.node
  if (view === undefined) return 'a replica is on a node that nobody knows'
  const name = columns.nodeName(node)
  if (view.state === 'decommissioned') return `${name} was decommissioned`
  return view.liveness === 'dead' ? `${name} is dead` : `${name} lost its disk`
}

/** Why a replica leaves its node. */
export function whyLeaving(columns: WorkingSet, slot: number): string {
  return `${columns.nodeName(columns.store[slot] as number)} is to be emptied`
}

/** Why a replica must not stay. */
export function whyEvicted(columns: WorkingSet, slot: number): string {
  return `it must not be on ${columns.nodeName(columns.store[slot] as number)}`
}
