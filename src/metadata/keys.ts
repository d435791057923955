import { text, utf8 } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'

/**
 * The first part of every key, one per module, so that modules never meet. A host that keeps keys of its own in the
 * same store uses another one.
 */
export const keyPrefixes: {
  /** What the cluster is. */
  readonly cluster: '/cluster/'
  /** Servers of the control plane, and where they are. */
  readonly servers: '/servers/'
  /** Who owns which controller epoch. */
  readonly epochs: '/epochs/'
  /** Nodes that joined, join tokens and sessions of nodes. */
  readonly nodes: '/nodes/'
  /** Descriptors of ranges. */
  readonly ranges: '/ranges/'
  /** What each node is to do with each range. */
  readonly wanted: '/wanted/'
  /** Jobs and their checkpoints. */
  readonly jobs: '/jobs/'
  /** Tables, and the versions that nodes use. */
  readonly schema: '/schema/'
  /** Session leases and their history. */
  readonly leases: '/leases/'
  /** Rules of placement, and the zones that tables are filed under. */
  readonly placement: '/placement/'
  /** Values of settings and their history. */
  readonly settings: '/settings/'
} = Object.freeze({
  cluster: '/cluster/',
  servers: '/servers/',
  epochs: '/epochs/',
  nodes: '/nodes/',
  ranges: '/ranges/',
  wanted: '/wanted/',
  jobs: '/jobs/',
  schema: '/schema/',
  leases: '/leases/',
  placement: '/placement/',
  settings: '/settings/',
})

/** A part of a path: a name without a slash, or a number from 0. */
export type KeyPart = string | number

/** Digits of a number in a key: as many as the largest safe integer has, so that keys sort as numbers do. */
const numberDigits = 16

function part(value: KeyPart): string {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && value >= 0) return String(value).padStart(numberDigits, '0')
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `a number in a key is a safe integer from 0, not ${showValue(value)}`,
    )
  }
  if (typeof value === 'string' && value.length > 0 && !value.includes('/')) return value
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `a part of a key is a name without a slash, not ${showValue(value)}`,
  )
}

/** The key of a path: `pathKey('/wanted/', 'n1', 7)` is `/wanted/n1/0000000000000007`. @throws KeelsonError `INVALID_ARGUMENT` */
export function pathKey(prefix: string, ...parts: readonly KeyPart[]): Uint8Array {
  return utf8(prefix + parts.map(part).join('/'))
}

/** What all keys below a path start with: `pathPrefix('/wanted/', 'n1')` is `/wanted/n1/`. @throws KeelsonError `INVALID_ARGUMENT` */
export function pathPrefix(prefix: string, ...parts: readonly KeyPart[]): Uint8Array {
  return utf8(prefix + parts.map((each) => `${part(each)}/`).join(''))
}

/** The parts of a key behind `prefix`, as text. @throws KeelsonError `MALFORMED` for a key that is not below it */
export function pathParts(prefix: string, key: Uint8Array): string[] {
  const path = text(key)
  if (path.startsWith(prefix)) return path.slice(prefix.length).split('/')
  throw new KeelsonError('MALFORMED', `the key ${showValue(path)} is not below ${prefix}`)
}
