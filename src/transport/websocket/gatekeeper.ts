import type { PeerCertificate } from 'node:tls'
import { KeelsonError } from '../../core/errors.ts'
import type { TransportContext } from '../../interfaces/transport.ts'
import type { ClusterId, NodeId } from '../../model/ids.ts'
import { Founding } from '../founding.ts'
import type { Greeter } from './handshake.ts'
import type { CheckedWebSocketOptions } from './options.ts'

/** Decides who may connect, from what they say and prove. */
export class Gatekeeper {
  readonly #context: TransportContext
  readonly #verifyPeer: CheckedWebSocketOptions['verifyPeer']
  /** Which founding of the cluster it belongs to. */
  readonly founding: Founding
  /** Of a client that takes any cluster: the first one that it met. */
  #clusterId: ClusterId | undefined

  constructor(context: TransportContext, options: CheckedWebSocketOptions) {
    this.#context = context
    this.#verifyPeer = options.verifyPeer
    this.#clusterId = context.clusterId
    this.founding = new Founding(context.clusterId, context.founding)
  }

  get clusterId(): ClusterId | undefined {
    return this.#clusterId
  }

  /** Why somebody is not let in. `processId` is this side's. */
  check(
    greeter: Greeter,
    certificate: PeerCertificate | undefined,
    processId: number,
  ): KeelsonError | undefined {
    return (
      this.#checkCluster(greeter) ??
      this.#checkFounding(greeter) ??
      this.#checkIdentity(greeter, processId) ??
      this.#checkProof(greeter, certificate)
    )
  }

  /** Somebody was let in. */
  met(greeter: Greeter): void {
    this.#clusterId ??= greeter.clusterId
  }

  /** Why a caller is not let in that wants to reach somebody else. */
  checkWanted(wanted: NodeId | undefined): KeelsonError | undefined {
    const { nodeId } = this.#context.self
    if (wanted === undefined || wanted === nodeId) return undefined
    return new KeelsonError('FOREIGN_NODE', `this is ${nodeId}, not ${wanted}: the address is out of date`)
  }

  #checkCluster(greeter: Greeter): KeelsonError | undefined {
    const [mine, theirs] = [this.#clusterId, greeter.clusterId]
    if (mine === theirs) return undefined
    if (theirs === undefined && greeter.identity.role === 'client') return undefined
    if (mine === undefined && this.#context.self.role === 'client') return undefined
    return new KeelsonError(
      'FOREIGN_CLUSTER',
      `the peer belongs to cluster ${theirs ?? '(none)'}, not to ${mine ?? '(none)'}; check the address`,
    )
  }

  /** Loudly: somebody has to stop one of the two clusters. */
  #checkFounding({ founding, identity: { nodeId } }: Greeter): KeelsonError | undefined {
    const refusal = this.founding.refusal(founding)
    if (refusal !== undefined)
      this.#context.env.logger.error({ peer: nodeId, error: refusal }, refusal.message)
    return refusal
  }

  #checkIdentity(greeter: Greeter, processId: number): KeelsonError | undefined {
    const { nodeId, role } = greeter.identity
    const { self, resolve } = this.#context
    if (nodeId === self.nodeId) {
      if (greeter.processId === processId) {
        return new KeelsonError(
          'INVALID_ARGUMENT',
          'this is the address of the node itself; connect to another one',
          {
            details: { ownAddress: true },
          },
        )
      }
      return new KeelsonError('UNAUTHORIZED', `another process calls itself ${nodeId}, too; names are unique`)
    }
    if (role === 'client' && resolve(nodeId).length > 0) {
      return new KeelsonError('UNAUTHORIZED', `${nodeId} is the name of a node; clients take another`)
    }
    return undefined
  }

  #checkProof(greeter: Greeter, certificate: PeerCertificate | undefined): KeelsonError | undefined {
    if (this.#verifyPeer === undefined) return undefined
    try {
      if (this.#verifyPeer(greeter.identity, certificate)) return undefined
    } catch (error) {
      this.#context.env.logger.error({ error, peer: greeter.identity.nodeId }, 'verifyPeer threw')
    }
    const { nodeId } = greeter.identity
    return new KeelsonError(
      'UNAUTHORIZED',
      `the peer did not prove that it is ${nodeId}; check its certificate`,
    )
  }
}
