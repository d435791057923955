import type { CallOptions } from '../../core/async.ts'
import type { NodeId } from '../../model/ids.ts'
import type { MemberStatus } from './core/change.ts'
import type { LogPosition } from './core/member.ts'
import type { QuorumSet, SetMember } from './core/quorum-set.ts'

/** What a member is to obey from now on. */
export interface Installation {
  /** Name of the replica set. */
  readonly name: string
  /** The newest epoch. */
  readonly set: QuorumSet
  /** Sequence of the newest primary. */
  readonly sequence: number
}

/** Which stop of a primary a call belongs to. */
export interface PrimaryStop {
  /** The sequence under which it is primary. */
  readonly sequence: number
  /**
   * Number of the attempt to stop it, higher with each. A late message of an earlier attempt, or one to stop after it was told
   * to resume in the same attempt, changes nothing.
   */
  readonly attempt: number
}

/**
 * What a host implements so that replica sets without a quorum of their own are changed: calls to single members. Every call
 * is idempotent, and may be made again by the next leader. A member that cannot be asked fails with `UNREACHABLE` or
 * `TIMEOUT`.
 *
 * The host's own write path keeps these rules: it goes to the life of a node's data that the set names; each write and each quorum read carries epoch and sequence, which every
 * member checks where it takes effect (`ReplicaSetMember.check`); a write is acknowledged when `QuorumSet.isWritten` says so of
 * members that hold it *and everything before it*; a primary takes no write before its log, with a record of its own
 * sequence at the end, is at a write quorum.
 */
export interface ReplicaSetHost {
  /** How a member stands. */
  status(name: string, nodeId: NodeId, call: CallOptions): Promise<MemberStatus>
  /**
   * Tells a member what to obey. Durable there before it resolves.
   *
   * @throws KeelsonError `STALE_EPOCH`, `STALE_SEQUENCE` when it obeys something newer
   */
  install(nodeId: NodeId, installation: Installation, call: CallOptions): Promise<MemberStatus>
  /**
   * Begins, or goes on, to bring everything to a candidate that was acknowledged before it joined, read from a read quorum
   * of complete members; when that is done the member says so in its status. May resolve before.
   */
  hydrate(nodeId: NodeId, member: SetMember, installation: Installation, call: CallOptions): Promise<void>
  /** The node is no member any more: it drops what it holds. */
  retire(nodeId: NodeId, installation: Installation, call: CallOptions): Promise<void>
  /**
   * A primary takes no more writes and waits for those that are under way.
   *
   * @returns where it stopped: nothing beyond is acknowledged under its sequence unless it resumes
   * @throws KeelsonError `STALE_SEQUENCE` when it is not primary under this sequence, or the attempt is over
   */
  stepDown(name: string, nodeId: NodeId, stop: PrimaryStop, call: CallOptions): Promise<LogPosition>
  /** A primary that stepped down in this attempt takes writes again. @throws KeelsonError `STALE_SEQUENCE` */
  resume(name: string, nodeId: NodeId, stop: PrimaryStop, call: CallOptions): Promise<void>
  /** A member takes over what another one has, up to a position. May resolve before it is there. */
  catchUp(
    name: string,
    nodeId: NodeId,
    source: NodeId,
    position: LogPosition,
    call: CallOptions,
  ): Promise<void>
  /**
   * A member becomes primary: brings its log to a write quorum, and takes writes from then on. May resolve before. It is
   * called again when the member restarts meanwhile: what that has sent under this sequence before is durable there, or it
   * refuses for good.
   *
   * @throws KeelsonError `STALE_EPOCH`, `STALE_SEQUENCE` when it obeys something newer
   */
  promote(nodeId: NodeId, installation: Installation, call: CallOptions): Promise<void>
}
