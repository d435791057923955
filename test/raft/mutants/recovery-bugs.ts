import type { GroupReport, RecoveryPlan } from '../../../src/raft/group/lost-quorum.ts'
import { decodeFrame, FramePacker } from '../../../src/raft/host/frame.ts'
import type { Peer } from '../simulation/node/links.ts'
import { Node } from '../simulation/node.ts'
import type { PlantedBug } from './types.ts'

const losesQuorum: NonNullable<PlantedBug['adjust']> = (settings) => ({
  ...settings,
  losesQuorum: true,
  faultPhaseMs: 1_500,
})

/** Bugs of the recovery from a lost quorum. */
export const recoveryBugs: readonly PlantedBug[] = [
  {
    name: 'recovery generations are not compared',
    mistake: undefined,
    Node: class extends Node {
      override receiveFrame(peer: Peer, bytes: Uint8Array): void {
        const packer = new FramePacker(this.incarnation)
        for (const { groupId, message } of decodeFrame(bytes, this.incarnation)?.messages ?? []) {
          packer.add(groupId, message, this.recoveryGeneration)
        }
        super.receiveFrame(peer, packer.finish())
      }
    },
    adjust: losesQuorum,
  },
  {
    name: 'lost members that come back are not told',
    mistake: undefined,
    Node: class extends Node {
      override refuseOlder(): void {}
    },
    adjust: losesQuorum,
  },
  {
    name: 'a group is recovered with the log of any survivor',
    mistake: undefined,
    Node: class extends Node {
      override planRecovery(reports: readonly GroupReport[]): RecoveryPlan {
        const plan = super.planRecovery(reports)
        const source = reports.find(({ replicaId }) => replicaId !== plan.source.replicaId) ?? plan.source
        return { ...plan, source, configurationIndex: source.lastIndex + 1 }
      }
    },
    adjust: losesQuorum,
  },
  {
    name: 'every survivor of a lost quorum writes the configuration at the end of its own log',
    mistake: undefined,
    Node: class extends Node {
      override takePart(plan: RecoveryPlan, report: GroupReport): void {
        super.takePart({ ...plan, source: report, configurationIndex: report.lastIndex + 1 }, report)
      }
    },
    adjust: losesQuorum,
  },
]
