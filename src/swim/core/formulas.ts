/** How often each member sends an update on: λ · ⌈log10(n + 1)⌉ (SWIM §4.1 with memberlist's constants). */
export function retransmitLimit(multiplier: number, members: number): number {
  // ⌈log10⌉ by counting, since the logarithm of a power of ten need not come out whole.
  let digits = 0
  for (let power = 1; power < members + 1; power *= 10) digits++
  return multiplier * digits
}

/** Shortest suspicion: α · max(1, log10 n) probe intervals (Lifeguard §IV-B). */
export function suspicionMinimumMs(multiplier: number, members: number, probeIntervalMs: number): number {
  return multiplier * Math.max(1, Math.log10(Math.max(1, members))) * probeIntervalMs
}

/**
 * How many independent confirmations bring a suspicion down to its shortest: α − 2, or none in a cluster that is too
 * small to have so many witnesses, or where a suspicion never lasts longer than its shortest (β = 1).
 */
export function confirmationsWanted(multiplier: number, members: number, maximumMultiplier: number): number {
  if (maximumMultiplier <= 1) return 0
  const wanted = Math.max(0, multiplier - 2)
  return members - 2 < wanted ? 0 : wanted
}

/** Length of a suspicion with `confirmations` of the `wanted` ones (Lifeguard §IV-B). */
export function suspicionTimeoutMs(
  minimumMs: number,
  maximumMs: number,
  wanted: number,
  confirmations: number,
): number {
  if (wanted < 1) return minimumMs
  const share = Math.log(confirmations + 1) / Math.log(wanted + 1)
  return Math.max(minimumMs, maximumMs - (maximumMs - minimumMs) * share)
}

/** How much rarer the exchange of views is in a larger cluster: ⌈log2 n − 5⌉ + 1 above 32 members. */
export function syncScale(members: number): number {
  return members <= 32 ? 1 : Math.ceil(Math.log2(members) - 5) + 1
}
