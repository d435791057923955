import { KeelsonError } from '../core/errors.ts'
import {
  arrayOption,
  checkOptions,
  type OptionCheck,
  type OptionChecks,
  objectOption,
  optional,
  wordOption,
} from '../core/options.ts'
import type { Revision } from '../interfaces/metadata-store.ts'
import { type FoundingId, idOption } from '../model/ids.ts'
import { addressOption } from '../transport/addresses.ts'

/**
 * How a server with an empty directory begins. One with a history goes on from it and ignores this.
 *
 * There is no third way: a server never forms a cluster because it happens to find nobody.
 */
export type ClusterStart =
  | {
      /** Forms a new cluster, once. */
      readonly type: 'bootstrap'
      /** Addresses of all other servers; each of them has to say that it knows of no cluster. */
      readonly others: readonly string[]
      /** The founding of a cluster whose servers are all lost; undefined for a new one. */
      readonly founding: FoundingId | undefined
      /** With `founding`: the latest revision that is known of the lost cluster. */
      readonly revision: Revision | undefined
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

/** The value stays out of the message: it may be the secret itself, misspelt. */
const secretOption: OptionCheck<string> = (value, name) => {
  if (typeof value === 'string' && value.length >= minimumSecretLength && value.length <= 256) return value
  throw new KeelsonError(
    'INVALID_OPTION',
    `${name} takes a secret of ${minimumSecretLength} to 256 characters; draw it at random and give the same to every server`,
  )
}

type Bootstrap = Extract<ClusterStart, { type: 'bootstrap' }>
type Join = Extract<ClusterStart, { type: 'join' }>

const bootstrapChecks: OptionChecks<Omit<Bootstrap, 'type'>> = {
  others: arrayOption(addressOption, { max: 64, fallback: [] }),
  secret: secretOption,
  founding: optional(idOption),
  revision: optional(idOption),
}

function checkFounding(
  { founding, revision }: Omit<Bootstrap, 'type'>,
  refuse: (problem: string) => never,
): void {
  if (founding !== undefined && revision === undefined) {
    refuse(
      'founding needs the revision of the backup beside it, or the new servers would count from the beginning and give out epochs and sessions of the lost ones again',
    )
  }
  if (revision !== undefined && founding === undefined) {
    refuse('revision is that of a lost cluster, so it needs the founding of that cluster beside it')
  }
}

const joinChecks: OptionChecks<Omit<Join, 'type'>> = {
  seeds: arrayOption(addressOption, { min: 1, max: 64 }),
  secret: secretOption,
}

/** Takes how a server begins, whoever wrote it down: `bootstrap(…)`, `join(…)`, or a file of the host's. */
export const clusterOption: OptionCheck<ClusterStart> = (value, name) => {
  const { type } = objectOption<ClusterStart>(['type', 'secret'])(
    value,
    `${name}, made by bootstrap(…) or join(…),`,
  )
  return type === 'join'
    ? checkOptions<Join>(name, value, { type: wordOption(['join']), ...joinChecks })
    : checkOptions<Bootstrap>(
        name,
        value,
        { type: wordOption(['bootstrap']), ...bootstrapChecks },
        checkFounding,
      )
}

/**
 * The first server of a new cluster. Exactly one server, exactly once in the cluster's life; on later starts it goes on from
 * its directory, and this is ignored.
 *
 * **Name the other servers.** A server that has lost its disk looks like one that never was; told to bootstrap, it would
 * begin a second cluster of the same id. So it first asks everybody in `others`, and waits until each has answered that
 * it knows of no cluster (a server that is opened with `join` and waits says so). One that knows it is enough, and
 * opening fails with `ALREADY_BOOTSTRAPPED`: open this server with `join(…)`, under its name; it comes back as a new
 * life of the old server. Open the servers side by side, then, not one after the other.
 *
 * With `others` empty, as by default, **nobody is asked**: nothing keeps a second cluster from being begun. It stays
 * apart from the first, since every process remembers the founding of its cluster and refuses those that belong to
 * another one with `FOREIGN_CLUSTER`; but a client or node that is new, and knows the address of that server alone, is taken
 * in by the wrong cluster. Leave it empty for a single server, for development, or where whoever starts the server
 * changes it to `join(…)` after the first time.
 *
 * @param options.others `host:port` addresses of all other servers. Default: none
 * @param options.secret what other servers must show to join
 * @param options.founding only to bring back a cluster of which every server is lost, with a backup: the founding that its
 *   nodes remember (`status().founding`, or the details of their `FOREIGN_CLUSTER`), so that they take this one for theirs
 * @param options.revision with `founding`: the revision of the backup, or any later one that is known of the lost cluster. Write it
 *   down beside the backup when you make it. This cluster counts on far behind it, so that no epoch, session or sequence of a lease
 *   is given out a second time. `importBackup` then brings the keys back; until it is through, nobody has any duties
 * @throws KeelsonError `INVALID_OPTION`
 */
export function bootstrap(options: {
  readonly others?: readonly string[]
  readonly secret: string
  readonly founding?: FoundingId
  readonly revision?: Revision
}): ClusterStart {
  return { type: 'bootstrap', ...checkOptions('bootstrap', options, bootstrapChecks, checkFounding) }
}

/**
 * Any other server, and every server whose directory was lost: it waits until the cluster takes it in.
 *
 * @param options.seeds addresses of servers, at least one of which must be up at some time
 * @throws KeelsonError `INVALID_OPTION`
 */
export function join(options: { readonly seeds: readonly string[]; readonly secret: string }): ClusterStart {
  return { type: 'join', ...checkOptions('join', options, joinChecks) }
}
