import type { Random } from '../../core/random.ts'
import type { ReplicaId } from '../../model/ids.ts'
import type { ConfigurationPool } from './configuration-pool.ts'
import type { RaftOptions, RestoredState } from './types.ts'

/** What is needed to make a `RaftMachine`; `new RaftCore({ … })` takes it. */
export interface RaftCoreSetup {
  /** The id that this replica has in its group. Messages that name another are dropped. */
  readonly replicaId: ReplicaId
  readonly restored: RestoredState
  readonly options?: Partial<RaftOptions>
  /** In the place of `options`: complete and right, so that all replicas of a host share them. @internal */
  readonly checkedOptions?: RaftOptions
  /** Where configurations are kept that many groups have. Default: one of its own. @internal */
  readonly pool?: ConfigurationPool
  readonly random: Random
  /** Monotonic time of the start. */
  readonly nowMs: number
}
