import { text, utf8 } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import type { KeySelector } from '../../interfaces/metadata-store.ts'
import type { NodeId } from '../../model/ids.ts'
import type { SettingValue } from '../definition.ts'

const formatVersion = 1

/** Whom a value is for: all, or one node, whose own value goes before the cluster's. */
export type SettingScope =
  | 'cluster'
  | {
      /** The node whose own value it is. */
      readonly nodeId: NodeId
    }

/** A value as it was set. */
export interface SettingRecord {
  /** The value as it was checked when it was set. */
  readonly value: SettingValue
  /** Why it was set, for people. */
  readonly reason: string
  /** Wall time, for people. */
  readonly atMs: number
  /** Present when the record says that the value was taken back. */
  readonly reset: boolean
}

function scopeText(scope: SettingScope): string {
  return scope === 'cluster' ? 'cluster' : `node/${scope.nodeId}`
}

/** Key of a value. */
export function settingKey(name: string, scope: SettingScope): Uint8Array {
  return utf8(`/settings/values/${name}/${scopeText(scope)}`)
}

/** All values. */
export const allSettings: KeySelector = Object.freeze({
  key: utf8('/settings/values/'),
  end: utf8('/settings/values0'),
})

/** Key of one step of a setting's history. */
export function historyKey(name: string, scope: SettingScope, step: number): Uint8Array {
  return utf8(`/settings/history/${name}/${scopeText(scope)}/${String(step).padStart(16, '0')}`)
}

/** A setting's whole history. */
export function historyOf(name: string, scope: SettingScope): KeySelector {
  return {
    key: utf8(`/settings/history/${name}/${scopeText(scope)}/`),
    end: utf8(`/settings/history/${name}/${scopeText(scope)}0`),
  }
}

/** Name and scope of a value's key. @throws KeelsonError `MALFORMED` */
export function parseSettingKey(key: Uint8Array): { readonly name: string; readonly scope: SettingScope } {
  const [name, kind, nodeId] = text(key).slice('/settings/values/'.length).split('/')
  if (name !== undefined && kind === 'cluster') return { name, scope: 'cluster' }
  if (name !== undefined && kind === 'node' && nodeId !== undefined) return { name, scope: { nodeId } }
  throw new KeelsonError('MALFORMED', `${JSON.stringify(text(key))} is not the key of a setting`)
}

/** @throws KeelsonError `INVALID_ARGUMENT` for what JSON cannot say */
function toJson(value: SettingValue): string {
  let json: string | undefined
  try {
    json = JSON.stringify(value)
  } catch {
    // A cycle or a bigint.
  }
  if (json !== undefined) return json
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `the value of a setting is what JSON can say, not ${showValue(value)}; have its schema convert it`,
  )
}

/** A record for the store. @throws KeelsonError `INVALID_ARGUMENT` */
export function encodeSetting(record: SettingRecord): Uint8Array {
  return encodePlain([formatVersion, toJson(record.value), record.reason, record.atMs, record.reset])
}

/** The inverse of {@link encodeSetting}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeSetting(bytes: Uint8Array): SettingRecord {
  const fields = new Fields(decodePlain(bytes, 'a setting'), 'a setting')
  const version = fields.uint('version')
  if (version !== formatVersion) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `a setting has format ${version}, this release knows ${formatVersion}; upgrade this process first`,
    )
  }
  const json = fields.string('value')
  const rest = { reason: fields.string('reason'), atMs: fields.number('at'), reset: fields.boolean('reset') }
  try {
    return { value: JSON.parse(json) as SettingValue, ...rest }
  } catch (cause) {
    throw new KeelsonError('MALFORMED', 'a setting holds a value that is not JSON', { cause })
  }
}
