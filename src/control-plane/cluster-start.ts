import { KeelsonError } from '../core/errors.ts'

/**
 * How a server with an empty directory begins. One with a history goes on from it and ignores this.
 *
 * There is no third way: a server never forms a cluster because it happens to find nobody.
 */
export type ClusterStart =
  | {
      /** Forms a new cluster, once. */
      readonly type: 'bootstrap'
      /** Addresses of servers that may exist already; none of them may know a cluster. */
      readonly others: readonly string[]
      /** What servers show each other to be let in; at least 16 characters, the same on every server. */
      readonly secret: string
    }
  | {
      /** Becomes a server of a cluster that exists. */
      readonly type: 'join'
      /** `host:port` addresses of servers of that cluster. */
      readonly seeds: readonly string[]
      /** What servers show each other to be let in; at least 16 characters, the same on every server. */
      readonly secret: string
    }

const minimumSecretLength = 16

function checkSecret(secret: unknown): string {
  if (typeof secret === 'string' && secret.length >= minimumSecretLength && secret.length <= 256)
    return secret
  throw new KeelsonError(
    'INVALID_OPTION',
    `the secret of a cluster has ${minimumSecretLength} to 256 characters; draw it at random and give the same to every server`,
  )
}

/**
 * The first server of a new cluster. Exactly one server, exactly once in the cluster's life.
 *
 * @param options.others addresses to ask first: if one of them knows a cluster, opening fails with `ALREADY_BOOTSTRAPPED`
 * @param options.secret what other servers must show to join
 * @throws KeelsonError `INVALID_OPTION`
 */
export function bootstrap(options: {
  readonly others?: readonly string[]
  readonly secret: string
}): ClusterStart {
  return { type: 'bootstrap', others: options.others ?? [], secret: checkSecret(options.secret) }
}

/**
 * Any other server, and every server whose directory was lost: it waits until the cluster takes it in.
 *
 * @param options.seeds addresses of servers, at least one of which must be up at some time
 * @throws KeelsonError `INVALID_OPTION`
 */
export function join(options: { readonly seeds: readonly string[]; readonly secret: string }): ClusterStart {
  if (options.seeds.length === 0)
    throw new KeelsonError('INVALID_OPTION', 'join needs at least one seed address')
  return { type: 'join', seeds: options.seeds, secret: checkSecret(options.secret) }
}
