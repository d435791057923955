/**
 * Cluster settings: typed, validated, scoped, versioned with history, and followed live.
 *
 * @module
 */

export type { SettingRecord, SettingScope } from './core/records.ts'
export {
  booleanSetting,
  defineSettings,
  integerSetting,
  type SettingDefinition,
  type SettingDefinitions,
  type SettingOf,
  type SettingValue,
  type StandardResult,
  type StandardSchema,
  schemaSetting,
  stringSetting,
  wordSetting,
} from './definition.ts'
export {
  type SetOptions,
  type SettingStatus,
  Settings,
  type SettingsEvents,
  type SettingsOptions,
} from './settings.ts'
