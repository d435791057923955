import { equalBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { invariant, unreachable } from '../../core/invariant.ts'
import type { NodeDescriptor, NodeState } from '../../model/descriptors.ts'
import type { Incarnation, NodeId } from '../../model/ids.ts'
import type { NodeRecord, TokenRecord } from './record.ts'

/** A node that asks to be admitted. */
export interface Admission {
  readonly descriptor: NodeDescriptor
  /** Hash of the secret that this incarnation keeps on its disk. */
  readonly credentialHash: Uint8Array
  /** Hash of the token that it shows, when it shows one. */
  readonly tokenHash?: Uint8Array
  readonly wallMs: number
}

/** What is known when a node asks. */
export interface AdmissionFacts {
  readonly record: NodeRecord | undefined
  /** The token that it showed, unless it is unknown or used. */
  readonly token: TokenRecord | undefined
  /** Incarnation that holds the node's session now. */
  readonly live: Incarnation | undefined
}

/** How a node was admitted: into its first life, into a new one after its disk was lost, or back into the one it had. */
export interface Admitted {
  readonly record: NodeRecord
  readonly life: 'first' | 'new' | 'same'
  /** The token is used up by it. */
  readonly usesToken: boolean
}

/**
 * Decides whether a node may join. A node proves a life that is known by the secret of that life; any other life needs a
 * token, which it uses up. A call that is repeated because its answer was lost has the same result.
 *
 * @throws KeelsonError `UNAUTHORIZED`, or `CONFLICT` (retryable) while another incarnation of the node is alive
 */
export function admit(facts: AdmissionFacts, asked: Admission): Admitted {
  const { record, token, live } = facts
  const { nodeId, incarnation } = asked.descriptor
  const fresh: NodeRecord = {
    descriptor: asked.descriptor,
    state: 'active',
    reason: record === undefined ? 'joined' : 'joined anew after its directory was lost',
    credentialHash: asked.credentialHash,
    tokenHash: asked.tokenHash ?? new Uint8Array(0),
    joinedAtMs: asked.wallMs,
    changedAtMs: asked.wallMs,
  }
  if (record !== undefined && record.descriptor.incarnation === incarnation) {
    if (!equalBytes(record.credentialHash, asked.credentialHash)) {
      throw new KeelsonError(
        'UNAUTHORIZED',
        `node ${nodeId} does not know the secret of its incarnation ${incarnation}; clear its directory and join it with a token`,
      )
    }
    checkMayAct(record)
    const changed = { ...record, descriptor: asked.descriptor, changedAtMs: asked.wallMs }
    return { record: changed, life: 'same', usesToken: false }
  }
  if (token === undefined || asked.wallMs > token.expiresAtMs) {
    throw new KeelsonError(
      'UNAUTHORIZED',
      `node ${nodeId} needs a join token that is valid and was not used before; make a new one`,
      { details: { nodeId, expired: token !== undefined } },
    )
  }
  if (live !== undefined) {
    throw new KeelsonError(
      'CONFLICT',
      `another incarnation of node ${nodeId} is alive (${live}); stop that process, or give the new one a name of its own`,
      { details: { nodeId, incarnation: live } },
    )
  }
  return { record: fresh, life: record === undefined ? 'first' : 'new', usesToken: true }
}

/** @throws KeelsonError `UNAUTHORIZED` when the node was decommissioned */
export function checkMayAct(record: NodeRecord): void {
  if (record.state !== 'decommissioned') return
  throw new KeelsonError(
    'UNAUTHORIZED',
    `node ${record.descriptor.nodeId} was decommissioned (${record.reason}); to use the machine again clear its directory and join it with a token`,
  )
}

/** What can be asked of a node's life. */
export type LifeChange = 'drain' | 'undrain' | 'drained' | 'decommission'

/**
 * The state after a change, or undefined when it is so already.
 *
 * active → draining → drained → decommissioned; undrain leads back to active until it is decommissioned. A node that is
 * dead for good may be decommissioned from draining, since its replicas are replaced wherever they can be.
 *
 * @throws KeelsonError `CONFLICT`
 */
export function nextState(
  nodeId: NodeId,
  state: NodeState,
  change: LifeChange,
  facts: { readonly replicas: number; readonly live: boolean },
): NodeState | undefined {
  const refuse = (problem: string): never => {
    throw new KeelsonError('CONFLICT', `node ${nodeId} ${problem}`, {
      retryable: false,
      details: { nodeId, state },
    })
  }
  switch (change) {
    case 'drain':
      if (state === 'decommissioned') return refuse('was decommissioned already')
      return state === 'active' ? 'draining' : undefined
    case 'undrain':
      if (state === 'decommissioned') return refuse('was decommissioned, which is final')
      return state === 'active' ? undefined : 'active'
    case 'drained':
      return state === 'draining' && facts.replicas === 0 ? 'drained' : undefined
    case 'decommission':
      if (state === 'decommissioned') return undefined
      if (state === 'active') return refuse('is active; drain it first')
      if (facts.replicas > 0) return refuse(`still has ${facts.replicas} replicas; wait until it is drained`)
      return 'decommissioned'
    default:
      return unreachable(change)
  }
}

/** The record after a change of its state. */
export function withState(record: NodeRecord, state: NodeState, reason: string, wallMs: number): NodeRecord {
  return { ...record, state, reason, changedAtMs: wallMs }
}

/**
 * The rules of a node's life that must hold between any two records that follow each other in the store.
 *
 * @throws KeelsonError `INVARIANT_VIOLATED`
 */
export function checkSuccession(before: NodeRecord | undefined, after: NodeRecord): void {
  if (before === undefined) {
    invariant(after.state === 'active', 'a node begins its life active')
    return
  }
  invariant(before.descriptor.nodeId === after.descriptor.nodeId, 'a node keeps its id')
  if (before.descriptor.incarnation !== after.descriptor.incarnation) {
    invariant(after.state === 'active', 'a new life begins active')
    invariant(!equalBytes(before.tokenHash, after.tokenHash), 'a token admits one life')
    return
  }
  invariant(
    before.state !== 'decommissioned' || after.state === 'decommissioned',
    'a decommissioned life does not come back',
  )
  invariant(equalBytes(before.credentialHash, after.credentialHash), 'a life keeps its secret')
  invariant(
    !(before.state === 'active' && (after.state === 'drained' || after.state === 'decommissioned')),
    'a node is drained before it goes',
  )
}
