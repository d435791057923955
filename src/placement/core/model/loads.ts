const fraction = 2 ** 20
const whole = 4096

/**
 * A load on the grid on which sums are exact: whole numbers from 4,096 on, multiples of 2⁻²⁰ below. So what is added and
 * taken away again leaves nothing behind, and what a plan counts does not depend on the order in which it was counted.
 */
export function exactLoad(amount: number | undefined): number {
  if (amount === undefined || !(amount > 0)) return 0
  if (amount >= whole) return Math.min(Number.MAX_SAFE_INTEGER, Math.round(amount))
  return Math.round(amount * fraction) / fraction
}
