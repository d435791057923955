import type { Mutant } from './cluster.ts'

/** Mistakes that implementations of SWIM have made or could make, each planted by replacing one decision of a core. */
export const mutants: Readonly<Record<string, Mutant>> = {
  'takes any statement, however old': ({ membership }) => {
    membership.beats = () => true
  },
  'raises the dead by a statement that is not newer': ({ membership }) => {
    const { beats } = membership
    membership.beats = (version, known) => {
      const gone = known?.state === 'dead' || known?.state === 'left'
      return gone ? version >= known.version : beats.call(membership, version, known)
    }
  },
  'never refutes': ({ membership }) => {
    membership.refute = () => {}
  },
  'refutes without a higher version': ({ membership }) => {
    const { broadcast } = membership
    membership.refute = () => {
      const { state: _, ...statement } = membership.self
      broadcast.call(membership, { kind: 'alive', ...statement })
    }
  },
  'raises the version of others': ({ membership }) => {
    const { applyDead } = membership
    membership.applyDead = (nodeId, version, accuser, nowMs) => {
      applyDead.call(
        membership,
        nodeId,
        accuser === membership.self.nodeId ? version + 1 : version,
        accuser,
        nowMs,
      )
    }
  },
  'declares dead without a suspicion': ({ membership }) => {
    const { applySuspect } = membership
    membership.applySuspect = (nodeId, version, accuser, nowMs) => {
      if (nodeId === membership.self.nodeId) applySuspect.call(membership, nodeId, version, accuser, nowMs)
      else membership.applyDead(nodeId, version, accuser, nowMs)
    }
  },
  'suspects without ever declaring dead': ({ membership }) => {
    membership.expireSuspicions = () => {
      membership.suspicions.clear()
    }
  },
  'repeats its news for ever': ({ membership }) => {
    membership.queue.countTransmission = () => {}
  },
  'fills packets beyond their size': ({ membership }) => {
    const { take } = membership.queue
    membership.queue.take = (capacity, limit) => take.call(membership.queue, capacity + 10_000, limit)
  },
  'probes the same member again and again': ({ prober, membership }) => {
    prober.nextTarget = () => membership.table.others.find(({ member }) => member.state === 'alive')
  },
  'never tries the dead again': ({ antiEntropy }) => {
    antiEntropy.reconnect = () => {}
  },
  'forgets who left': ({ membership }) => {
    const { applyLeft } = membership
    membership.applyLeft = (nodeId, version, nowMs) => {
      applyLeft.call(membership, nodeId, version, nowMs)
      const record = membership.table.get(nodeId)
      if (record?.member.state !== 'left') return
      membership.table.set({ ...record.member, state: 'dead', version: Math.max(0, version - 1) }, nowMs)
    }
  },
  'passes no updates on': ({ membership }) => {
    const { broadcast } = membership
    membership.broadcast = (update) => {
      if (update.nodeId === membership.self.nodeId) broadcast.call(membership, update)
    }
  },
}
