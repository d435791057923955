import type { Random } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { apartMs, type Coordinate, distanceMs } from './coordinates.ts'
import type { Membership } from './membership.ts'
import type { Entry } from './statement.ts'

/** Candidates that are looked at for each helper that is wanted. */
const candidatesEach = 4

/** Below this all are at one place, and differences are noise. */
const leastDistanceMs = 1

/** A place that is more uncertain than this says nothing. */
const largestError = 0.6

/** What choosing helpers needs to know. */
export interface HelperQuestion {
  readonly membership: Membership
  readonly random: Random
  /** Where this node is; undefined when it does not estimate. */
  readonly here: Coordinate | undefined
  readonly target: NodeId
}

/**
 * Whom to ask to try a member that did not answer. All but one are picked at random: they are as many ways through the network as
 * can be had without knowing it. One is picked for being far from us and from the target as well, by the network coordinates: when
 * the path between two places is cut, helpers at either of them take the same path, and only a third place has another one.
 *
 * Where all are near each other, or too little is known, all are random. A member that is far because it is slow is no third place:
 * its way there and back must fit into the probe timeout.
 */
export function chooseHelpers({ membership, random, here, target }: HelperQuestion): Entry[] {
  const { table, tuning } = membership
  const wanted = tuning.indirectProbes
  const candidates = table.pick(
    wanted < 2 ? wanted : wanted * candidatesEach,
    random,
    ({ member }) => member.state === 'alive' && member.nodeId !== target,
  )
  const there = table.notes(target)?.coordinate
  if (wanted < 2 || candidates.length <= wanted || !isKnown(here) || !isKnown(there))
    return candidates.slice(0, wanted)
  const helpers = candidates.slice(0, wanted)
  const apart = (entry: Entry): number => {
    const place = table.notes(entry.member.nodeId)?.coordinate
    if (!isKnown(place)) return 0
    if ((distanceMs(here, place) + distanceMs(place, there)) * 2 > tuning.probeTimeoutMs) return 0
    const ms = Math.min(apartMs(here, place), apartMs(place, there))
    return place.heightMs > ms ? 0 : ms
  }
  const leastMs = Math.max(leastDistanceMs, apartMs(here, there) / 4)
  let farthest: Entry | undefined
  let farthestMs = leastMs
  for (const candidate of candidates) {
    const ms = apart(candidate)
    if (ms <= farthestMs) continue
    farthest = candidate
    farthestMs = ms
  }
  // One that is far enough by chance is as good.
  if (farthest === undefined || helpers.some((helper) => apart(helper) > leastMs)) return helpers
  helpers[wanted - 1] = farthest
  return helpers
}

function isKnown(place: Coordinate | undefined): place is Coordinate {
  return place !== undefined && place.error <= largestError
}
