import type { Alteration } from './swarm.ts'

/** Mistakes that implementations of SWIM have made or could make, each planted by replacing one decision of a core. */
export const mutants: Readonly<Record<string, Alteration>> = {
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
    membership.voice.refute = () => {}
  },
  'refutes without a higher version': ({ membership }) => {
    membership.voice.refute = () => membership.broadcast({ kind: 'alive', statement: membership.statement })
  },
  'raises the version of others': ({ membership }) => {
    const { applyDead } = membership
    membership.applyDead = (nodeId, version, accuser, nowMs) => {
      const raised = accuser === membership.nodeId ? version + 1 : version
      applyDead.call(membership, nodeId, raised, accuser, nowMs)
    }
  },
  'declares dead without a suspicion': ({ membership }) => {
    const { applySuspect } = membership
    membership.applySuspect = (nodeId, version, accuser, nowMs) => {
      if (nodeId === membership.nodeId) applySuspect.call(membership, nodeId, version, accuser, nowMs)
      else membership.applyDead(nodeId, version, accuser, nowMs)
    }
  },
  'suspects without ever declaring dead': ({ membership }) => {
    membership.expireSuspicions = (nowMs) => {
      for (const [nodeId, { deadlineMs }] of membership.suspicions) {
        if (deadlineMs <= nowMs) membership.suspicions.end(nodeId)
      }
    }
  },
  'takes the time of suspicions from a wall clock that is set': ({ membership }) => {
    const { expireSuspicions } = membership
    let startedMs: number | undefined
    membership.expireSuspicions = (nowMs) => {
      startedMs ??= nowMs
      expireSuspicions.call(membership, nowMs - startedMs > 20_000 ? nowMs + 3_600_000 : nowMs)
      for (const [nodeId, suspicion] of membership.suspicions) {
        if (nowMs - startedMs > 20_000)
          membership.applyDead(nodeId, suspicion.version, membership.nodeId, nowMs)
      }
    }
  },
  'holds the time that it was stopped against others': (core) => {
    core.forgiveStall = () => {}
    core.prober.askOthers = (probe) => {
      probe.silentHelpers = new Set()
    }
    core.membership.newSuspicion = ((original) => (version: number, accuser: string, nowMs: number) => {
      const suspicion = original.call(core.membership, version, accuser, nowMs - 60_000)
      suspicion.called(nowMs - 60_000)
      return suspicion
    })(core.membership.newSuspicion)
  },
  'repeats its news for ever': ({ membership }) => {
    const { queue } = membership
    queue.countTransmission = ({ key, message, bytes }) => queue.put(key, message, bytes)
  },
  'fills packets beyond their size': ({ membership }) => {
    const { take } = membership.queue
    membership.queue.take = (capacity, limit) => take.call(membership.queue, capacity + 10_000, limit)
  },
  'probes the same member again and again': ({ prober, membership }) => {
    prober.nextTarget = () => {
      for (const entry of membership.table.entries()) {
        if (entry.member.nodeId !== membership.nodeId && entry.member.state === 'alive') return entry
      }
      return undefined
    }
  },
  'never tries the dead again': ({ antiEntropy }) => {
    antiEntropy.reconnect = () => {}
  },
  'never exchanges views': ({ antiEntropy }) => {
    antiEntropy.onOffer = () => {}
  },
  'forgets who left': ({ membership }) => {
    const { applyLeft } = membership
    membership.applyLeft = (nodeId, incarnation, version, nowMs) => {
      applyLeft.call(membership, nodeId, incarnation, version, nowMs)
      const known = membership.table.get(nodeId)
      if (known?.member.state !== 'left') return
      membership.table.set(known.statement.entry('dead', Math.max(0, version - 1)), nowMs)
    }
  },
  'passes no updates on': ({ membership }) => {
    const { broadcast } = membership
    membership.broadcast = (update) => {
      const about = update.kind === 'alive' ? update.statement.nodeId : update.nodeId
      if (about === membership.nodeId) broadcast.call(membership, update)
    }
  },
  'does not overrule its own earlier life': ({ membership }) => {
    membership.voice.answerClaim = () => {}
  },
  'expels whoever was accused once': ({ membership }) => {
    membership.evidence.convicts = () => true
  },
  'refutes its removal': ({ membership }) => {
    membership.voice.obeyExpulsion = (version) => membership.voice.refute(version)
  },
  'comes back when it is told that it was removed': ({ membership }) => {
    const { obeyExpulsion } = membership.voice
    membership.voice.obeyExpulsion = (version, claim, nowMs) => {
      if (claim === 'left') membership.voice.restate({}, version)
      else obeyExpulsion.call(membership.voice, version, claim, nowMs)
    }
  },
  'is told things twice': ({ rumours, membership }) => {
    const { isNews } = rumours
    rumours.isNews = (message, nowMs) => {
      const travels = membership.queue.has(`!${message.origin} ${message.id}`)
      return isNews.call(rumours, message, nowMs) || travels
    }
  },
  'passes on nothing that it is told': ({ rumours, membership }) => {
    const { isNews } = rumours
    rumours.isNews = (message, nowMs) => {
      const news = isNews.call(rumours, message, nowMs)
      if (message.origin !== membership.nodeId) membership.queue.remove(`!${message.origin} ${message.id}`)
      return news
    }
    rumours.recent = () => []
  },
  'answers in full whoever seems to be there': ({ reception }) => {
    reception.isProven = () => true
  },
  'tells its view to whoever seems to ask': ({ antiEntropy }) => {
    antiEntropy.mayBeTold = () => true
  },
  'says nothing of what members change': ({ membership }) => {
    const { emit } = membership
    membership.emit = (type, ...rest) => {
      if (type !== 'updated') emit.call(membership, type, ...rest)
    }
  },
  'asks a suspect without telling it that it is one': ({ packer }) => {
    packer.buddy = () => []
  },
  'says nothing of deaths': ({ membership }) => {
    const { emit } = membership
    membership.emit = (type, ...rest) => {
      if (type !== 'failed') emit.call(membership, type, ...rest)
    }
  },
  'never takes long metadata in': ({ metadataPull }) => {
    metadataPull.accept = () => {}
  },
  'gives up its long metadata at the next statement': ({ membership }) => {
    const { table } = membership
    const set = table.set.bind(table)
    table.set = (entry, sinceMs) => {
      const { statement, member } = entry
      const long = statement.metadataChecksum !== 0 && member.nodeId !== membership.nodeId
      const bare = long
        ? statement.with({
            metadata: new Uint8Array(0),
            metadataBytes: statement.metadataBytes,
            metadataChecksum: statement.metadataChecksum,
          })
        : statement
      set(bare.entry(member.state, member.version), sinceMs)
    }
  },
}

/** Mistakes in what random runs do not lead to often enough, and the corner of `corners.ts` that shows each. */
export const cornerMutants: Readonly<
  Record<string, { readonly corner: string; readonly alter: Alteration }>
> = {
  'never distrusts itself': {
    corner: 'who does not hear knows that it is unwell, and who is well knows that too',
    alter: ({ membership }) => {
      membership.health.add = () => {}
    },
  },
  'never trusts itself again': {
    corner: 'who does not hear knows that it is unwell, and who is well knows that too',
    alter: ({ membership }) => {
      const { health } = membership
      const add = health.add.bind(health)
      health.add = (delta) => add(Math.max(0, delta))
    },
  },
  'does not count that helpers answered': {
    corner: 'helpers that answer speak for whoever asked them',
    alter: ({ prober }) => {
      prober.onNack = () => {}
    },
  },
  'waits as long however many accuse': {
    corner: 'confirmations shorten a suspicion',
    alter: ({ membership }) => {
      membership.suspicions.confirm = () => false
    },
  },
  'helps nobody': {
    corner: 'who is reached through others is not suspected',
    alter: ({ prober }) => {
      prober.onIndirectPing = () => {}
    },
  },
  'never asks others to try': {
    corner: 'who is reached through others is not suspected',
    alter: ({ prober }) => {
      prober.askOthers = (probe) => {
        probe.silentHelpers = new Set()
      }
    },
  },
  'takes a death that it is told in an exchange for one': {
    corner: 'to become one cluster again declares nobody dead',
    alter: ({ membership }) => {
      const { merge } = membership
      membership.merge = (record, from, nowMs) => {
        const { nodeId } = record.statement
        if (record.state === 'dead' && membership.table.get(nodeId) !== undefined)
          membership.applyDead(nodeId, record.version, from, nowMs)
        else merge.call(membership, record, from, nowMs)
      }
    },
  },
  'asks those whom it holds dead for a token again': {
    corner: 'to become one cluster again declares nobody dead',
    alter: ({ membership }) => {
      const { admissions } = membership
      const { wasAdmitted } = admissions
      admissions.wasAdmitted = (life) =>
        wasAdmitted.call(admissions, life) && membership.table.get(life.nodeId)?.member.state === 'alive'
    },
  },
  'never expels': {
    corner: 'who cannot be reached is expelled',
    alter: ({ membership }) => {
      membership.evidence.convicts = () => false
    },
  },
  'tells at its own time, whatever it has heard': {
    corner: 'who tells something after it was told something says so',
    alter: ({ rumours }) => {
      rumours.witness = () => {}
    },
  },
  'never says what it knows better': {
    corner: 'who starts again in an earlier release comes back',
    alter: ({ reception }) => {
      reception.correction = () => []
    },
  },
  'forgets over a restart who was removed': {
    corner: 'who was removed stays out',
    alter: ({ membership }) => {
      membership.admissions.restoreLives = () => {}
    },
  },
  'listens to whom its host keeps out': {
    corner: 'of whom a host keeps out nothing is heard',
    alter: ({ reception }) => {
      reception.shuns = () => false
      reception.isHeard = () => true
    },
  },
  'answers however long ago it was asked': {
    corner: 'a question is not asked when its asker has given up',
    alter: ({ rumours }) => {
      rumours.endOf = (_, nowMs) => nowMs + 86_400_000
    },
  },
}

/** Mistakes in how a name is kept, for runs in which two processes use one. */
export const nameMutants: Readonly<Record<string, Alteration>> = {
  'speaks on though it has lost its name': ({ membership }) => {
    membership.voice.fallSilent = () => {}
  },
  'lets the first ballot decide who keeps a name': ({ nameVote }) => {
    nameVote.isDecisive = (ballots) => ballots.size > 0
    nameVote.wins = (_, ballots) => ballots.values().next().value === 'ours'
  },
  'votes for whoever spoke last under a name': ({ membership }) => {
    membership.settledClaim = (nodeId) => membership.table.get(nodeId)?.statement
  },
  'never answers whoever uses its own name': ({ reception }) => {
    reception.answerNamesake = () => {}
  },
  'decides alone though the other one knows many': ({ nameVote }) => {
    nameVote.onVerdict = () => {}
  },
  'falls silent without having heard the voters': ({ nameVote }) => {
    nameVote.isDecisive = () => true
    nameVote.wins = (_, ballots) => [...ballots.values()].filter((each) => each === 'ours').length > 8
  },
}
