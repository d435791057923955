import { KeelsonError } from '../core/errors.ts'
import {
  arrayOption,
  booleanOption,
  checkOptions,
  closest,
  functionOption,
  integerOption,
  type OptionCheck,
  objectOption,
  showValue,
  stringOption,
} from '../core/options.ts'

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
  for (const [name, definition] of Object.entries(objectOption<D>()(definitions, 'defineSettings'))) {
    if (!/^[a-z][a-z0-9]*([._-][a-z0-9]+)*$/.test(name) || name.length > 128) {
      throw new KeelsonError(
        'INVALID_OPTION',
        `${showValue(name)} is not a setting's name: lower-case words joined by '.', '-' or '_'`,
      )
    }
    objectOption<SettingDefinition<unknown>>(['description', 'default', 'check'])(
      definition,
      `the setting ${name}`,
    )
    functionOption()(definition.check, `the setting ${name}: 'check'`)
    stringOption()(definition.description, `the setting ${name}: 'description'`)
    try {
      definition.check(definition.default)
    } catch (cause) {
      throw new KeelsonError(
        'INVALID_OPTION',
        `the default of the setting ${name} fails its own check: ${(cause as Error).message}`,
        {
          cause,
        },
      )
    }
  }
  return Object.freeze({ ...definitions })
}

/** Empty text is a value, too. */
const textOption: OptionCheck<string> = (value, name) => (value === '' ? '' : stringOption()(value, name))

const schemaOption: OptionCheck<StandardSchema<unknown>> = (value, name) => {
  const standard = (value as Partial<StandardSchema<unknown>> | null | undefined)?.['~standard']
  if (typeof standard?.validate === 'function') return value as StandardSchema<unknown>
  throw new KeelsonError(
    'INVALID_OPTION',
    `${name} takes a schema of the Standard Schema interface, such as one of zod, valibot or arktype, not ${showValue(value)}`,
  )
}

/** A whole number within bounds. */
export function integerSetting(options: {
  readonly description: string
  readonly default: number
  readonly min: number
  readonly max: number
}): SettingDefinition<number> {
  const {
    description,
    default: initial,
    min,
    max,
  } = checkOptions('integerSetting', options, {
    description: stringOption(),
    default: integerOption({ min: Number.MIN_SAFE_INTEGER }),
    min: integerOption({ min: Number.MIN_SAFE_INTEGER }),
    max: integerOption({ min: Number.MIN_SAFE_INTEGER }),
  })
  return {
    description,
    default: initial,
    check: (value) => {
      if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) {
        return value as number
      }
      throw refusal(`an integer from ${min} to ${max}`, value)
    },
  }
}

/** Yes or no. */
export function booleanSetting(options: {
  readonly description: string
  readonly default: boolean
}): SettingDefinition<boolean> {
  const checked = checkOptions('booleanSetting', options, {
    description: stringOption(),
    default: booleanOption(),
  })
  return {
    ...checked,
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
  const {
    description,
    default: initial,
    maxLength,
    secret,
  } = checkOptions('stringSetting', options, {
    description: stringOption(),
    default: textOption,
    maxLength: integerOption({ min: 1, max: 65_536, fallback: 1024 }),
    secret: booleanOption(false),
  })
  return {
    description,
    default: initial,
    secret,
    check: (value) => {
      if (typeof value === 'string' && value.length <= maxLength) return value
      throw refusal(`a string of at most ${maxLength} characters`, secret ? undefined : value)
    },
  }
}

/** One of a few words. */
export function wordSetting<const T extends string>(options: {
  readonly description: string
  readonly default: NoInfer<T>
  readonly words: readonly T[]
}): SettingDefinition<T> {
  const {
    description,
    default: initial,
    words,
  } = checkOptions('wordSetting', options, {
    description: stringOption(),
    default: stringOption(),
    words: arrayOption(stringOption(), { min: 1, max: 1000 }),
  })
  return {
    description,
    default: initial as T,
    check: (value) => {
      if (words.includes(value as T)) return value as T
      throw refusal(`one of ${words.join(', ')}`, value)
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
  const {
    description,
    default: initial,
    schema,
    secret,
  } = checkOptions('schemaSetting', options, {
    description: stringOption(),
    default: (value: unknown) => value as T,
    schema: schemaOption as OptionCheck<StandardSchema<T>>,
    secret: booleanOption(false),
  })
  return {
    description,
    default: initial,
    secret,
    check: (value) => {
      const result = schema['~standard'].validate(value)
      if (result instanceof Promise) {
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          'the schema of a setting must validate synchronously; give one without asynchronous checks',
        )
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
  const suggestion = closest(String(name), Object.keys(definitions))
  throw new KeelsonError(
    'NOT_FOUND',
    `there is no setting ${showValue(name)}${suggestion === undefined ? '' : `; did you mean '${suggestion}'?`}`,
  )
}

function refusal(wanted: string, value: unknown): KeelsonError {
  const shown = value === undefined ? '' : `, not ${showValue(value)}`
  return new KeelsonError('INVALID_ARGUMENT', `the value must be ${wanted}${shown}`)
}
