import { KeelsonError } from '../core/errors.ts'
import { closest } from '../core/options.ts'

/** A value that a setting can have: what JSON can say. */
export type SettingValue =
  | null
  | boolean
  | number
  | string
  | readonly SettingValue[]
  | { readonly [key: string]: SettingValue }

/** The part of the Standard Schema interface (version 1) that validates: zod, valibot, arktype and others have it. */
export interface StandardSchema<T> {
  /** The entry that the standard prescribes. */
  readonly '~standard': {
    /** Version of the standard. */
    readonly version: 1
    /** Name of the schema library. */
    readonly vendor: string
    /** Checks a value and returns it, perhaps converted, or what is wrong with it. */
    readonly validate: (value: unknown) => StandardResult<T> | Promise<StandardResult<T>>
    /** Types for compilers only; nothing reads it at run time. */
    readonly types?:
      | {
          /** What the schema takes. */
          readonly input: unknown
          /** What the schema returns. */
          readonly output: T
        }
      | undefined
  }
}

/** What a {@link StandardSchema} answers. */
export type StandardResult<T> =
  | {
      /** The checked value, perhaps converted. */
      readonly value: T
      /** Absent from a success: this is how the standard tells the two apart. */
      readonly issues?: undefined
    }
  | {
      /** What is wrong with the value. */
      readonly issues: readonly {
        /** In words, for people. */
        readonly message: string
      }[]
    }

/** One setting: its type, its default and what it is for. */
export interface SettingDefinition<T> {
  /** One sentence for the people who operate the cluster, with the unit. */
  readonly description: string
  /** Counts until somebody sets another value; checked when the settings are defined. */
  readonly default: T
  /** The checked value. @throws KeelsonError `INVALID_ARGUMENT` */
  readonly check: (value: unknown) => T
  /** True when its value must not appear in logs and listings. Default: false. */
  readonly secret?: boolean
}

/** Settings by name, as {@link defineSettings} takes them. */
export type SettingDefinitions = Readonly<Record<string, SettingDefinition<unknown>>>

/** The type of a setting's value. */
export type SettingOf<D extends SettingDefinitions, K extends keyof D> =
  D[K] extends SettingDefinition<infer T> ? T : never

/**
 * Checks definitions and freezes them.
 *
 * @throws KeelsonError `INVALID_OPTION` for a name that is not lower-case words joined by dots, or a default that fails
 *   its own check
 */
export function defineSettings<const D extends SettingDefinitions>(definitions: D): D {
  for (const [name, definition] of Object.entries(definitions)) {
    if (!/^[a-z][a-z0-9]*([._-][a-z0-9]+)*$/.test(name) || name.length > 128) {
      throw new KeelsonError(
        'INVALID_OPTION',
        `${JSON.stringify(name)} is not a setting's name: lower-case words joined by '.', '-' or '_'`,
      )
    }
    try {
      definition.check(definition.default)
    } catch (cause) {
      throw new KeelsonError('INVALID_OPTION', `the default of the setting ${name} fails its own check`, {
        cause,
      })
    }
    if (definition.description === '') {
      throw new KeelsonError('INVALID_OPTION', `the setting ${name} needs a description`)
    }
  }
  return Object.freeze({ ...definitions })
}

/** A whole number within bounds. */
export function integerSetting(options: {
  readonly description: string
  readonly default: number
  readonly min: number
  readonly max: number
}): SettingDefinition<number> {
  return {
    description: options.description,
    default: options.default,
    check: (value) => {
      if (
        Number.isSafeInteger(value) &&
        (value as number) >= options.min &&
        (value as number) <= options.max
      ) {
        return value as number
      }
      throw refusal(`an integer from ${options.min} to ${options.max}`, value)
    },
  }
}

/** Yes or no. */
export function booleanSetting(options: {
  readonly description: string
  readonly default: boolean
}): SettingDefinition<boolean> {
  return {
    ...options,
    check: (value) => {
      if (typeof value === 'boolean') return value
      throw refusal('true or false', value)
    },
  }
}

/** A text of limited length. */
export function stringSetting(options: {
  readonly description: string
  readonly default: string
  readonly maxLength?: number
  readonly secret?: boolean
}): SettingDefinition<string> {
  const maxLength = options.maxLength ?? 1024
  return {
    ...options,
    check: (value) => {
      if (typeof value === 'string' && value.length <= maxLength) return value
      throw refusal(
        `a string of at most ${maxLength} characters`,
        options.secret === true ? undefined : value,
      )
    },
  }
}

/** One of a few words. */
export function wordSetting<const T extends string>(options: {
  readonly description: string
  readonly default: NoInfer<T>
  readonly words: readonly T[]
}): SettingDefinition<T> {
  return {
    description: options.description,
    default: options.default,
    check: (value) => {
      if (options.words.includes(value as T)) return value as T
      throw refusal(`one of ${options.words.join(', ')}`, value)
    },
  }
}

/** Anything that a schema of another library checks, synchronously. */
export function schemaSetting<T>(options: {
  readonly description: string
  readonly default: T
  readonly schema: StandardSchema<T>
  readonly secret?: boolean
}): SettingDefinition<T> {
  return {
    ...options,
    check: (value) => {
      const result = options.schema['~standard'].validate(value)
      if (result instanceof Promise) {
        throw new KeelsonError('INVALID_ARGUMENT', 'the schema of a setting must validate synchronously')
      }
      if (result.issues === undefined) return result.value
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the value does not fit: ${result.issues.map((issue) => issue.message).join('; ')}`,
      )
    },
  }
}

/** The definition of a name. @throws KeelsonError `NOT_FOUND` with a suggestion */
export function definitionOf(definitions: SettingDefinitions, name: string): SettingDefinition<unknown> {
  const definition = Object.hasOwn(definitions, name) ? definitions[name] : undefined
  if (definition !== undefined) return definition
  const suggestion = closest(name, Object.keys(definitions))
  throw new KeelsonError(
    'NOT_FOUND',
    `there is no setting ${JSON.stringify(name)}${suggestion === undefined ? '' : `; did you mean '${suggestion}'?`}`,
  )
}

function refusal(wanted: string, value: unknown): KeelsonError {
  const shown = value === undefined ? '' : `, not ${JSON.stringify(value) ?? typeof value}`
  return new KeelsonError('INVALID_ARGUMENT', `the value must be ${wanted}${shown}`)
}
