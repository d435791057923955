import { checkArray, checkInteger, checkObject } from '../../core/arguments.ts'
import { Fields, type Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { JobForm } from '../../jobs/job-type.ts'
import { checkName, type NodeId } from '../../model/ids.ts'

/** Most nodes of one operation. */
export const maximumOperatedNodes = 10_000

/** Some nodes that go down together and are expected back. */
export interface Absence {
  /** The nodes. */
  readonly nodeIds: readonly NodeId[]
  /** `clearing`: their leases leave. `away`: they may go down, are down, or are catching up. */
  readonly stage: 'clearing' | 'away'
  /** Time that is left of the bound, as of the last checkpoint; it runs only while they may be down. */
  readonly remainingMs: number
  /** Epochs of their sessions, in the order of `nodeIds`, when they were ready to go down. */
  readonly epochs: readonly number[]
}

/** Checkpoint of a maintenance. */
export interface MaintenanceState {
  /** How long the nodes may be away before what they hold counts as lost. */
  readonly boundMs: number
  /** The nodes and where they stand. */
  readonly absence: Absence
  /** Ranges may become unavailable by it. */
  readonly force: boolean
}

/** Checkpoint of a rolling restart. */
export interface RestartState {
  /** How long each node may be away. */
  readonly boundMs: number
  /** Nodes that go down together at most. */
  readonly atOnce: number
  /** Nodes that have been restarted. */
  readonly done: readonly NodeId[]
  /** Those whose turn it is. */
  readonly absence: Absence | undefined
  /** Nodes whose turn comes. */
  readonly queue: readonly NodeId[]
}

/** Nodes that are to be emptied: by name, or all of a rack or zone. */
export type EvacuationTarget =
  | {
      /** The nodes themselves. */
      readonly nodeIds: readonly NodeId[]
    }
  | {
      /** Key of a tier of locality. */
      readonly tier: string
      /** Its value: all nodes that have it. */
      readonly value: string
    }

/** Checkpoint of an evacuation. */
export interface EvacuationState {
  /** What is to be emptied. */
  readonly target: EvacuationTarget
  /** The nodes, once they are known. */
  readonly nodeIds: readonly NodeId[]
  /** Of those, the ones that this job drained: a cancellation gives them back. */
  readonly ours: readonly NodeId[]
  /** Replicas that there were at the beginning. */
  readonly replicas: number
}

/** A maintenance as it begins. */
export function newMaintenance(
  nodeIds: readonly NodeId[],
  boundMs: number,
  force: boolean,
): MaintenanceState {
  return { boundMs, force, absence: newAbsence(checkNodes(nodeIds), checkBound(boundMs)) }
}

/** Nodes as they begin to be away. */
export function newAbsence(nodeIds: readonly NodeId[], boundMs: number): Absence {
  return { nodeIds, stage: 'clearing', remainingMs: boundMs, epochs: [] }
}

/** @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkNodes(nodeIds: readonly NodeId[]): readonly NodeId[] {
  for (const nodeId of checkArray(nodeIds, 'the nodes of an operation', maximumOperatedNodes))
    checkName(nodeId, 'a node id')
  if (nodeIds.length === 0)
    throw new KeelsonError('INVALID_ARGUMENT', 'an operation needs at least one node; name them')
  return [...new Set(nodeIds)].sort()
}

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkBound(boundMs: number): number {
  return checkInteger(boundMs, 'the time within which a node is expected back', 1)
}

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkTarget(target: EvacuationTarget): EvacuationTarget {
  checkObject(target, 'what is to be evacuated')
  if ('nodeIds' in target) return { nodeIds: checkNodes(target.nodeIds) }
  const { tier, value } = target
  for (const word of [tier, value]) {
    if (typeof word !== 'string' || word.length === 0 || word.length > 64)
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `what is evacuated is a list of nodeIds, or a tier and its value, of 1 to 64 characters each`,
      )
  }
  return { tier, value }
}

const stages = ['clearing', 'away'] as const

function plainAbsence({ nodeIds, stage, remainingMs, epochs }: Absence): Plain {
  return [[...nodeIds], stages.indexOf(stage), remainingMs, [...epochs]]
}

function readAbsence(fields: Fields): Absence {
  const nodeIds = readNodes(fields, 'nodeIds')
  const stage = stages[fields.oneOf('stage', [0, 1])]
  return {
    nodeIds,
    stage,
    remainingMs: fields.uint('remainingMs'),
    epochs: fields.scalars('epochs', (f) => f.uint('epoch')),
  }
}

function readNodes(fields: Fields, name: string): readonly NodeId[] {
  return fields.scalars(name, (f) => f.string('nodeId'))
}

const formatVersion = 1

function open(value: Plain, what: string): Fields {
  const fields = new Fields(value, what)
  const version = fields.uint('version')
  if (version === formatVersion) return fields
  throw new KeelsonError(
    'FORMAT_VERSION',
    `${what} has format ${version}, this release knows ${formatVersion}; upgrade this process first`,
  )
}

/** Jobs that take nodes down for a while. */
export const maintenanceForm: JobForm<MaintenanceState> = Object.freeze({
  type: 'placement.maintenance',
  encode: ({ boundMs, force, absence }: MaintenanceState): Plain => [
    formatVersion,
    boundMs,
    force,
    plainAbsence(absence),
  ],
  decode: decodeMaintenance,
})

/** The inverse of what a maintenance encodes. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeMaintenance(value: Plain): MaintenanceState {
  const fields = open(value, 'the state of a maintenance')
  return {
    boundMs: fields.uint('boundMs'),
    force: fields.boolean('force'),
    absence: readAbsence(fields.nested('absence')),
  }
}

/** Jobs that restart nodes, one after the other. */
export const restartForm: JobForm<RestartState> = Object.freeze({
  type: 'placement.rolling-restart',
  encode: ({ boundMs, atOnce, done, absence, queue }: RestartState): Plain => [
    formatVersion,
    boundMs,
    atOnce,
    [...done],
    absence === undefined ? null : plainAbsence(absence),
    [...queue],
  ],
  decode: decodeRestart,
})

/** The inverse of what a rolling restart encodes. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeRestart(value: Plain): RestartState {
  const fields = open(value, 'the state of a rolling restart')
  return {
    boundMs: fields.uint('boundMs'),
    atOnce: fields.uint('atOnce'),
    done: readNodes(fields, 'done'),
    absence: fields.optional((f) => readAbsence(f.nested('absence'))),
    queue: readNodes(fields, 'queue'),
  }
}

/** Jobs that empty nodes. */
export const evacuationForm: JobForm<EvacuationState> = Object.freeze({
  type: 'placement.evacuation',
  encode: ({ target, nodeIds, ours, replicas }: EvacuationState): Plain => [
    formatVersion,
    'nodeIds' in target ? [...target.nodeIds] : null,
    'nodeIds' in target ? null : [target.tier, target.value],
    [...nodeIds],
    [...ours],
    replicas,
  ],
  decode: decodeEvacuation,
})

/** The inverse of what an evacuation encodes. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeEvacuation(value: Plain): EvacuationState {
  const fields = open(value, 'the state of an evacuation')
  const named = fields.optional((f) => readNodes(f, 'target'))
  const domain = fields.optional((f) => {
    const inner = f.nested('domain')
    return { tier: inner.string('tier'), value: inner.string('value') }
  })
  if ((named === undefined) === (domain === undefined))
    throw new KeelsonError('MALFORMED', 'an evacuation is of nodes or of a domain')
  return {
    target: domain ?? { nodeIds: named ?? [] },
    nodeIds: readNodes(fields, 'nodeIds'),
    ours: readNodes(fields, 'ours'),
    replicas: fields.uint('replicas'),
  }
}
