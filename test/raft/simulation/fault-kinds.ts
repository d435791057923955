import type { FaultKind } from '../../../src/simulation/faults.ts'
import { diskKinds, foundOutAtRest } from './disk-kinds.ts'
import { lateFrameKinds } from './late-frames.ts'
import { leaderKinds } from './leader-kinds.ts'
import { memberKinds } from './member-kinds.ts'
import { faultKinds } from './nemesis.ts'
import { operationKinds } from './operation-kinds.ts'
import type { World } from './world.ts'

/** Every kind of fault that comes and goes in a run. */
export function allFaultKinds(world: World): FaultKind[] {
  const kinds = [
    ...faultKinds(world),
    ...leaderKinds(world),
    ...memberKinds(world),
    ...diskKinds(world),
    ...operationKinds(world),
    ...lateFrameKinds(world),
  ]
  const atRest = foundOutAtRest(world)
  return world.settings.emphasis.includes(atRest.name) ? [...kinds, atRest] : kinds
}
