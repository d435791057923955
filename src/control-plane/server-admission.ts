import { createHash, timingSafeEqual } from 'node:crypto'
import { SerialExecutor, sleep } from '../core/async.ts'
import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { RaftGroup } from '../raft/index.ts'
import { checkServer, type ServerAddress } from './server-roster.ts'

/** What a server sends to become a member of the control plane. */
export interface ServerJoinRequest {
  readonly server: ServerAddress
  readonly secret: string
}

const formatVersion = 1
const pollMs = 20
/** How long a server may still seem to be there that a new life of it takes the place of. */
const silenceMs = 5_000

/** A request for the wire. */
export function encodeServerJoin(request: ServerJoinRequest): Uint8Array {
  const { nodeId, incarnation, addresses } = request.server
  return encodePlain([formatVersion, nodeId, incarnation, [...addresses], request.secret])
}

/** The inverse of {@link encodeServerJoin}. @throws KeelsonError `MALFORMED`, `INVALID_ARGUMENT` */
export function decodeServerJoin(bytes: Uint8Array): ServerJoinRequest {
  const fields = new Fields(decodePlain(bytes, 'a request to join'), 'a request to join')
  fields.oneOf('version', [formatVersion])
  const server = checkServer({
    nodeId: fields.string('node id'),
    incarnation: fields.uint('incarnation'),
    addresses: fields.scalars('addresses', (f) => f.string('address')),
  })
  return { server, secret: fields.string('secret') }
}

/** @throws KeelsonError `UNAUTHORIZED` */
export function checkServerSecret(expected: string, shown: string): void {
  // Equal lengths and constant time, whatever was shown.
  const digest = (secret: string): Buffer => createHash('sha256').update(secret).digest()
  if (timingSafeEqual(digest(expected), digest(shown))) return
  throw new KeelsonError(
    'UNAUTHORIZED',
    'the secret of the cluster is another one; give this server the same as the others',
  )
}

/**
 * Takes servers into the metadata group, one change at a time: as a learner first, as a voter when it has caught up, so
 * that a new server never lowers what the group survives. Runs on the leader; repeating a request goes on where the last
 * one stopped.
 *
 * A server that comes back with an empty disk takes the place of its own former life. The two cannot be swapped in one
 * joint step, as a node has one replica at a time; so the dead one goes first. That costs nothing: a majority of the others
 * is never more than a majority of all. It would if the former life were not dead.
 */
export class ServerAdmission {
  readonly #env: Environment
  readonly #group: RaftGroup
  readonly #executor = new SerialExecutor(64)

  constructor(env: Environment, group: RaftGroup) {
    this.#env = env
    this.#group = group
  }

  /**
   * Resolves when the server votes.
   *
   * @throws KeelsonError `NOT_LEADER` and whatever a membership change throws
   */
  async admit(server: ServerAddress, signal: AbortSignal): Promise<void> {
    await this.#executor.run(async () => {
      const { clock } = this.#env
      const silentAtMs = clock.monotonicMs() + silenceMs
      for (;;) {
        if (await this.#step(server, clock.monotonicMs() < silentAtMs, signal)) return
      }
    })
  }

  async #step(server: ServerAddress, mayWait: boolean, signal: AbortSignal): Promise<boolean> {
    const { latestConfiguration, progress, replicaId: self } = this.#group.status()
    const known = latestConfiguration?.replicas.find(({ nodeId }) => nodeId === server.nodeId)
    const guard =
      latestConfiguration === undefined ? {} : { expectedGeneration: latestConfiguration.generation }
    if (known === undefined) {
      const { nodeId, incarnation } = server
      await this.#group.changeMembership({ type: 'addLearner', nodeId, incarnation }, { ...guard, signal })
      return false
    }
    const { replicaId } = known
    if (known.incarnation !== server.incarnation) {
      if (replicaId === self || progress.get(replicaId)?.recentlyActive === true) {
        if (!mayWait) throw stillThere(server)
        await sleep(this.#env.timers, pollMs, signal)
        return false
      }
      // The disk of that life is lost, and with it what it had acknowledged: it must not vote again.
      await this.#group.changeMembership({ type: 'remove', replicaId }, { ...guard, signal })
      return false
    }
    if (known.role === 'voter') return true
    if (progress.get(replicaId)?.caughtUp === true) {
      await this.#group.changeMembership({ type: 'promote', replicaId }, { ...guard, signal })
      return true
    }
    if (this.#group.token() === undefined)
      throw new KeelsonError('NOT_LEADER', 'leadership was lost while a server joined; try again')
    await sleep(this.#env.timers, pollMs, signal)
    return false
  }
}

/** To take out the one that answers would leave the group a voter short until the other one has caught up. */
function stillThere({ nodeId }: ServerAddress): KeelsonError {
  return new KeelsonError(
    'CONFLICT',
    `a server ${nodeId} with other data is there and takes part; stop it before another one takes its place, or give this one a name of its own`,
    { retryable: false },
  )
}
