import { type Environment, KeelsonError, sleep } from 'keelson'
import type { DirectoryCache } from 'keelson/metadata'
import type { Rpc } from 'keelson/transport'
import { type ForwardRequest, forwardRequest } from './protocol.ts'
import type { ReplicaKeeper } from './replica-keeper.ts'

/** What {@link NodeCalls} needs of its node. */
export interface NodeCallPorts {
  readonly env: Environment
  readonly nodeId: string
  readonly rpc: Rpc
  readonly keeper: ReplicaKeeper
  /** Where everybody was last, also while the control plane is away. */
  readonly directory: DirectoryCache
  readonly signal: AbortSignal
}

const forwardRetryMs = 200
const callTimeoutMs = 2_000

/** What a node asks of the others on behalf of its ranges. */
export class NodeCalls {
  readonly #ports: NodeCallPorts

  constructor(ports: NodeCallPorts) {
    this.#ports = ports
  }

  /**
   * Hands a proposal to whoever leads its range by now: the leader that the replica knows, or, when it was left behind,
   * the range's members as the control plane names them.
   */
  async forward(request: ForwardRequest, leader: string | undefined): Promise<void> {
    const members =
      this.#ports.keeper.wanted.get(request.rangeId)?.descriptor.replicas.map(({ nodeId }) => nodeId) ?? []
    const targets = new Set([leader, ...members].filter((nodeId) => nodeId !== undefined))
    targets.delete(this.#ports.nodeId)
    for (const target of targets) {
      try {
        await this.#ports.rpc.call(target, 'forward', forwardRequest.encode(request), {
          timeoutMs: callTimeoutMs,
        })
        return
      } catch (error) {
        if (!KeelsonError.hasCode(error, 'NOT_LEADER', 'UNREACHABLE', 'OUTCOME_UNKNOWN')) throw error
      }
    }
    await sleep(this.#ports.env.timers, forwardRetryMs, this.#ports.signal)
    throw new KeelsonError('NOT_LEADER', `the leader of range ${request.rangeId} was not found`)
  }

  /** Asks whoever holds a range's lease, here or where the directory last had it. */
  async askHolder(rangeId: number, method: string, body: Uint8Array): Promise<Uint8Array> {
    const members = this.#ports.directory.byId(rangeId)?.replicas.map(({ nodeId }) => nodeId) ?? []
    const own = this.#ports.keeper.replicas.get(rangeId)?.group.status().leader?.nodeId
    const { signal } = this.#ports
    let failure: unknown
    for (const nodeId of new Set([...(own === undefined ? [] : [own]), ...members])) {
      try {
        return await this.#ports.rpc.call(nodeId, method, body, { timeoutMs: callTimeoutMs, signal })
      } catch (error) {
        failure = error
        if (!KeelsonError.is(error) || signal.aborted) throw error
      }
    }
    throw (
      failure ??
      new KeelsonError('NOT_FOUND', `nobody is known to hold range ${rangeId}`, { retryable: true })
    )
  }
}
