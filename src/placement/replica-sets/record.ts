import { decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { NodeId } from '../../model/ids.ts'
import type { ReplicaSetRecord, SetChange } from './core/change.ts'
import type { LogPosition } from './core/member.ts'
import type { PrimaryChange, PrimaryProgress } from './core/primary.ts'
import { QuorumSet, type SetMember } from './core/quorum-set.ts'

/** Checkpoint of a change of members. */
export interface SetChangeState {
  /** The replica set. */
  readonly name: string
  /** What it is to achieve. */
  readonly change: SetChange
}

/** Checkpoint of a change of primary. */
export interface PrimaryChangeState {
  /** The replica set. */
  readonly name: string
  /** What it is to achieve. */
  readonly change: PrimaryChange
  /** Where it stands. Absent before the first look. */
  readonly progress?: PrimaryProgress
}

const formatVersion = 1

function checkVersion(fields: Fields, what: string): void {
  const version = fields.uint('version')
  if (version === formatVersion) return
  throw new KeelsonError(
    'FORMAT_VERSION',
    `${what} has format ${version}, this release knows ${formatVersion}; upgrade this process first`,
  )
}

function plainSet(set: QuorumSet): Plain {
  return [
    set.epoch,
    set.writeQuorum,
    set.readQuorum,
    set.slots.map((slot) => slot.map(({ nodeId, incarnation, joined }) => [nodeId, incarnation, joined])),
  ]
}

function readSet(fields: Fields): QuorumSet {
  const epoch = fields.uint('epoch')
  const writeQuorum = fields.uint('writeQuorum')
  const readQuorum = fields.uint('readQuorum')
  const slots = fields.list('slots', (slot) => readSlot(slot))
  return checked(() => new QuorumSet({ epoch, slots, writeQuorum, readQuorum }))
}

function readSlot(fields: Fields): SetMember[] {
  const members: SetMember[] = []
  while (fields.more) {
    const member = fields.nested('member')
    const nodeId = member.string('nodeId')
    const incarnation = member.uint('incarnation')
    members.push({ nodeId, incarnation, joined: member.uint('joined') })
  }
  return members
}

/** Encodes a replica set for the store. */
export function encodeReplicaSet(record: ReplicaSetRecord): Uint8Array {
  const { set, unsealed, primary, sequence } = record
  return encodePlain([formatVersion, plainSet(set), unsealed.map(plainSet), primary ?? null, sequence])
}

/** The inverse of {@link encodeReplicaSet}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeReplicaSet(bytes: Uint8Array): ReplicaSetRecord {
  const fields = new Fields(decodePlain(bytes, 'a replica set'), 'a replica set')
  checkVersion(fields, 'a replica set')
  return {
    set: readSet(fields.nested('set')),
    unsealed: fields.list('unsealed', readSet),
    primary: fields.optional((f) => f.string('primary')),
    sequence: fields.uint('sequence'),
  }
}

/** A change of members as plain data. */
export function encodeSetChange({ name, change }: SetChangeState): Plain {
  return [
    formatVersion,
    name,
    change.suspect,
    change.candidate,
    change.incarnation,
    change.mayReturn,
    change.begun,
  ]
}

/** The inverse of {@link encodeSetChange}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeSetChange(value: Plain): SetChangeState {
  const fields = new Fields(value, 'a change of members')
  checkVersion(fields, 'a change of members')
  const name = fields.string('name')
  const suspect = fields.string('suspect')
  const candidate = fields.string('candidate')
  const incarnation = fields.uint('incarnation')
  const mayReturn = fields.boolean('mayReturn')
  const begun = fields.boolean('begun')
  return { name, change: { suspect, candidate, incarnation, mayReturn, begun } }
}

/** A change of primary as plain data. */
export function encodePrimaryChange({ name, change, progress }: PrimaryChangeState): Plain {
  return [
    formatVersion,
    name,
    change.to ?? null,
    change.emergency,
    change.force,
    progress === undefined
      ? null
      : [
          progress.from ?? null,
          progress.fromSequence,
          progress.stopping,
          plainPosition(progress.stoppedAt),
          progress.sequence ?? null,
          progress.chosen ?? null,
          plainPosition(progress.target),
          progress.lossless,
          [...progress.passedOver],
        ],
  ]
}

/** The inverse of {@link encodePrimaryChange}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodePrimaryChange(value: Plain): PrimaryChangeState {
  const fields = new Fields(value, 'a change of primary')
  checkVersion(fields, 'a change of primary')
  const name = fields.string('name')
  const to = fields.optional((f) => f.string('to'))
  const emergency = fields.boolean('emergency')
  const force = fields.boolean('force')
  const progress = fields.optional((f) => readProgress(f.nested('progress')))
  return { name, change: { to, emergency, force }, ...(progress === undefined ? {} : { progress }) }
}

function readProgress(fields: Fields): PrimaryProgress {
  const progress = {
    from: fields.optional((f) => f.string('from')),
    fromSequence: fields.uint('fromSequence'),
    stopping: fields.boolean('stopping'),
    stoppedAt: fields.optional((f) => readPosition(f.nested('stoppedAt'))),
    sequence: fields.optional((f) => f.uint('sequence')),
    chosen: fields.optional((f) => f.string('chosen')),
    target: fields.optional((f) => readPosition(f.nested('target'))),
    lossless: fields.boolean('lossless'),
  }
  // One of an older release ends here.
  return { ...progress, passedOver: fields.more ? readNames(fields.nested('passedOver')) : [] }
}

function readNames(fields: Fields): NodeId[] {
  const names: NodeId[] = []
  while (fields.more) names.push(fields.string('nodeId'))
  return names
}

function plainPosition(position: LogPosition | undefined): Plain {
  return position === undefined ? null : [position.sequence, position.index]
}

function readPosition(fields: Fields): LogPosition {
  return { sequence: fields.uint('sequence'), index: fields.uint('index') }
}

/** What is a caller's mistake elsewhere is a malformed record here. */
function checked<T>(make: () => T): T {
  try {
    return make()
  } catch (cause) {
    if (!KeelsonError.hasCode(cause, 'INVALID_ARGUMENT')) throw cause
    throw new KeelsonError('MALFORMED', `a replica set is not valid: ${cause.message}`, { cause })
  }
}
