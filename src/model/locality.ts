import { KeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'

/** One level of where a node stands, from the widest to the narrowest: region, zone, rack. */
export interface LocalityTier {
  /** Name of the level: `region`, `zone`, `rack`. */
  readonly key: string
  /** Which one of that level. */
  readonly value: string
}

/** Where a node stands, widest tier first. All nodes of a cluster should name the same tiers in the same order. */
export type Locality = readonly LocalityTier[]

const tierPattern = /^([a-z0-9_-]{1,32})=([A-Za-z0-9._-]{1,64})$/

/** Parses `region=eu,zone=eu-1,rack=7`. @throws KeelsonError `INVALID_ARGUMENT` */
export function parseLocality(text: string): Locality {
  if (text === '') return []
  if (typeof text !== 'string') {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `a locality is text such as 'region=eu,zone=eu-1', not ${showValue(text)}`,
    )
  }
  const tiers = text.split(',').map((part) => {
    const match = tierPattern.exec(part)
    if (match === null) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a locality reads 'region=eu,zone=eu-1', but it holds ${showValue(part)}`,
      )
    }
    return { key: match[1] as string, value: match[2] as string }
  })
  if (new Set(tiers.map((tier) => tier.key)).size !== tiers.length) {
    throw new KeelsonError('INVALID_ARGUMENT', `the locality ${showValue(text)} names a tier twice`)
  }
  return tiers
}

/** The inverse of {@link parseLocality}. */
export function formatLocality(locality: Locality): string {
  return locality.map((tier) => `${tier.key}=${tier.value}`).join(',')
}

/** The value of one tier, if the locality has it. */
export function localityValue(locality: Locality, key: string): string | undefined {
  return locality.find((tier) => tier.key === key)?.value
}

/**
 * How far apart two localities are, in [0, 1]: (L − i) / L with i the first tier that differs and L the shorter length
 * (CockroachDB's diversity score). 1 is another region, 0 the same place.
 */
export function diversity(a: Locality, b: Locality): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    if (a[i]?.value !== b[i]?.value) return (length - i) / length
  }
  return 0
}
