import { sleep } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import type { NodeId } from '../../model/ids.ts'
import { encodeCommand } from '../mvcc/commands.ts'
import type { MetadataStateMachine } from '../mvcc/state-machine.ts'
import { decodeVerification, emptyMessage, methods } from '../protocol.ts'
import type { MetadataGroup } from './group.ts'

/** What a {@link Verifier} is made of. */
export interface VerifierOptions {
  readonly env: Environment
  readonly self: NodeId
  readonly group: MetadataGroup
  readonly machine: MetadataStateMachine
  readonly intervalMs: number
  readonly ask: (peer: NodeId, method: string, body: Uint8Array) => Promise<Uint8Array>
  /** A member's state differs from the leader's at the same place of the log. */
  readonly onMismatch: (nodeId: NodeId) => void
}

/** How long a member may take to apply the command. */
const patienceMs = 1_000

/**
 * Has all members compare their states: the leader puts a command into the log, every member notes the hash of its
 * state there, and the leader asks for them. It finds what no checksum of a disk or a wire finds: a replica that
 * computed something else.
 */
export class Verifier {
  readonly #options: VerifierOptions
  readonly #stop = new AbortController()

  constructor(options: VerifierOptions) {
    this.#options = options
    if (options.intervalMs > 0) void this.#run()
  }

  /** Idempotent. */
  close(): void {
    this.#stop.abort()
  }

  /** Compares once. @returns the members that answered and differ */
  async verify(): Promise<readonly NodeId[]> {
    const { env, group, machine, self, ask, onMismatch } = this.#options
    const token = group.token()
    if (token === undefined) return []
    await group.propose(encodeCommand({ type: 'verify' }), { token })
    const own = machine.verified
    const replicas = group.status().configuration?.replicas ?? []
    await sleep(env.timers, patienceMs, this.#stop.signal)
    const differing: NodeId[] = []
    for (const { nodeId } of replicas) {
      if (nodeId === self || own === undefined) continue
      try {
        const other = decodeVerification(await ask(nodeId, methods.verified, emptyMessage))
        if (other.index === own.index && other.digest !== own.digest) differing.push(nodeId)
      } catch (error) {
        env.logger.debug({ error, nodeId }, 'a member did not tell the hash of its state')
      }
    }
    for (const nodeId of differing) onMismatch(nodeId)
    return differing
  }

  async #run(): Promise<void> {
    const { env, intervalMs } = this.#options
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        await sleep(env.timers, intervalMs, signal)
        await this.verify()
      } catch (error) {
        if (!signal.aborted) env.logger.debug({ error }, 'the members could not be compared')
      }
    }
  }
}
