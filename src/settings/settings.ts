import { checkInteger, checkMembers, checkText } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import { checkCall, checkOptions, type OptionCheck, objectOption, optional } from '../core/options.ts'
import type { KeyValue, MetadataStore } from '../interfaces/metadata-store.ts'
import { follow } from '../jobs/index.ts'
import { checkName, type NodeId, nameOption } from '../model/ids.ts'
import {
  allSettings,
  decodeSetting,
  encodeSetting,
  historyKey,
  historyOf,
  parseSettingKey,
  type SettingRecord,
  type SettingScope,
  settingKey,
} from './core/records.ts'
import {
  defineSettings,
  definitionOf,
  type SettingDefinitions,
  type SettingOf,
  type SettingValue,
} from './definition.ts'

/** Steps of a setting's history that are kept. */
const historyLimit = 100
/** Largest encoded value with its reason. */
const maximumValueBytes = 64 * 1024

/** Options of {@link Settings.open}. */
export interface SettingsOptions<D extends SettingDefinitions> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where the values are kept. */
  readonly store: MetadataStore
  /** All settings of the program, as `defineSettings` made them. */
  readonly definitions: D
  /** The node whose own values count here. Default: only the cluster's count. */
  readonly nodeId?: NodeId
}

/** Options of {@link Settings.set} and {@link Settings.reset}. */
export interface SetOptions extends CallOptions {
  /** Why, for the history. */
  readonly reason: string
  /** Default: the whole cluster. */
  readonly scope?: SettingScope
  /** The value is set only if the last change was this revision (0: it was never set). */
  readonly expectedRevision?: number
}

/** Events of {@link Settings}. */
export interface SettingsEvents extends Record<string, (...args: never[]) => void> {
  /** The value that counts here has changed. */
  change: (name: string, value: unknown) => void
}

/** One line of a listing. */
export interface SettingStatus {
  /** Name of the setting. */
  readonly name: string
  /** What it is for, with the unit. */
  readonly description: string
  /** The value that counts here; undefined when it is a secret. */
  readonly value: unknown
  /** Whose value counts here. */
  readonly source: 'default' | 'cluster' | 'node'
  /** Revision of the value's last change; 0 for a default. */
  readonly revision: number
}

interface Stored {
  readonly record: SettingRecord
  readonly revision: number
}

/**
 * Typed settings of a cluster, followed live. `get` is synchronous and goes on answering from the last known values
 * while the control plane is away.
 */
export class Settings<D extends SettingDefinitions> implements AsyncDisposable, Listenable<SettingsEvents> {
  readonly #options: SettingsOptions<D>
  readonly #events: Events<SettingsEvents>
  readonly #stop = new AbortController()
  #cluster = new Map<string, Stored>()
  #node = new Map<string, Stored>()
  readonly #current = new Map<string, unknown>()
  #following: Promise<void> = Promise.resolve()

  private constructor(options: SettingsOptions<D>) {
    this.#options = options
    this.#events = new Events(options.env.logger, ['change'])
    for (const [name, definition] of Object.entries(options.definitions))
      this.#current.set(name, definition.default)
  }

  /** Reads all values, then follows their changes. @throws KeelsonError `INVALID_OPTION`, `TIMEOUT`, `ABORTED` */
  static async open<D extends SettingDefinitions>(
    options: SettingsOptions<D>,
    call: CallOptions = {},
  ): Promise<Settings<D>> {
    const checked = checkOptions<SettingsOptions<D>>('Settings.open', options, {
      env: objectOption<Environment>(['clock', 'timers', 'logger']),
      store: objectOption<MetadataStore>(['get', 'range', 'txn', 'watch']),
      definitions: (value: unknown, name: string) => defineSettings(objectOption<D>()(value, name)),
      nodeId: optional(nameOption) as OptionCheck<NodeId>,
    })
    checkCall('Settings.open', call)
    const settings = new Settings(checked)
    const { entries } = await checked.store.range(allSettings, call)
    settings.#replace(entries)
    settings.#following = settings.#follow()
    return settings
  }

  /** The value that counts here: the node's own, else the cluster's, else the default. */
  get<K extends keyof D & string>(name: K): SettingOf<D, K> {
    definitionOf(this.#options.definitions, name)
    return this.#current.get(name) as SettingOf<D, K>
  }

  on<K extends keyof SettingsEvents & string>(event: K, listener: SettingsEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /**
   * Sets a value, after checking it, and adds a step to its history.
   *
   * @returns the revision of the change
   * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT`, `CONFLICT` when `expectedRevision` does not hold
   */
  async set<K extends keyof D & string>(
    name: K,
    value: SettingOf<D, K>,
    options: SetOptions,
  ): Promise<number> {
    const checked = definitionOf(this.#options.definitions, name).check(value)
    return this.#write(name, checked as SettingValue, false, options)
  }

  /** Takes a value back, so that the next wider one counts again. @throws as {@link Settings.set} */
  async reset(name: keyof D & string, options: SetOptions): Promise<number> {
    definitionOf(this.#options.definitions, name)
    return this.#write(name, null, true, options)
  }

  /** The steps of a setting's history, oldest first. */
  async history(
    name: keyof D & string,
    options: CallOptions & { readonly scope?: SettingScope } = {},
  ): Promise<readonly SettingRecord[]> {
    definitionOf(this.#options.definitions, name)
    checkCall('history', options, ['scope'])
    const { scope = 'cluster', ...call } = options
    checkScope(scope)
    const { entries } = await this.#options.store.range(historyOf(name, scope), call)
    return entries.map((entry) => decodeSetting(entry.value))
  }

  /** Every setting with the value that counts here and where it comes from. */
  list(): readonly SettingStatus[] {
    return Object.entries(this.#options.definitions).map(([name, definition]) => {
      const own = this.#node.get(name)
      const shared = this.#cluster.get(name)
      const stored = own ?? shared
      return {
        name,
        description: definition.description,
        value: definition.secret === true ? undefined : this.#current.get(name),
        source: own !== undefined ? 'node' : shared !== undefined ? 'cluster' : 'default',
        revision: stored?.revision ?? 0,
      }
    })
  }

  /** Stops following. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new KeelsonError('CLOSED', 'the settings were closed'))
    await this.#following
    this.#events.removeAll()
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #write(name: string, value: SettingValue, reset: boolean, options: SetOptions): Promise<number> {
    checkCall(reset ? 'reset' : 'set', options, ['reason', 'scope', 'expectedRevision'])
    checkText(options.reason, 'the reason of a change, for people to read,', 1024)
    const { scope = 'cluster', expectedRevision } = options
    checkScope(scope)
    if (expectedRevision !== undefined) checkInteger(expectedRevision, 'expectedRevision')
    const record: SettingRecord = {
      value,
      reason: options.reason,
      atMs: this.#options.env.clock.wallMs(),
      reset,
    }
    const encoded = encodeSetting(record)
    if (encoded.length > maximumValueBytes) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a setting takes at most ${maximumValueBytes} bytes, this has ${encoded.length}; keep what is large elsewhere, and set where it is`,
      )
    }
    const key = settingKey(name, scope)
    const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal }
    for (;;) {
      const known = await this.#options.store.get(key, call)
      const revision = known?.modRevision ?? 0
      if (options.expectedRevision !== undefined && options.expectedRevision !== revision) {
        throw new KeelsonError(
          'CONFLICT',
          `the setting ${name} was changed at revision ${revision}, not ${options.expectedRevision}; look again`,
        )
      }
      // A value that was taken back stays as a record, so that its version goes on counting the steps of the history.
      const step = (known?.version ?? 0) + 1
      const result = await this.#options.store.txn(
        {
          if: [{ key, target: 'modRevision', is: '=', operand: revision }],
          then: [
            { type: 'put', key, value: encoded },
            { type: 'put', key: historyKey(name, scope, step), value: encoded },
            ...(step > historyLimit
              ? [{ type: 'delete' as const, select: { key: historyKey(name, scope, step - historyLimit) } }]
              : []),
          ],
        },
        call,
      )
      if (result.succeeded) return result.revision
    }
  }

  async #follow(): Promise<void> {
    const { store, env } = this.#options
    try {
      for await (const step of follow(store, env, allSettings, { signal: this.#stop.signal })) {
        if (step.type === 'snapshot') this.#replace(step.entries)
        else for (const event of step.events) this.#take(event.entry)
      }
    } catch (error) {
      env.logger.error({ error }, 'settings are not followed any more; the last known values stay')
    }
  }

  #replace(entries: readonly KeyValue[]): void {
    this.#cluster = new Map()
    this.#node = new Map()
    for (const entry of entries) this.#remember(entry)
    for (const name of Object.keys(this.#options.definitions)) this.#settle(name)
  }

  #take(entry: KeyValue): void {
    const name = this.#remember(entry)
    if (name !== undefined) this.#settle(name)
  }

  #remember(entry: KeyValue): string | undefined {
    try {
      const { name, scope } = parseSettingKey(entry.key)
      // Settings of other releases are left alone.
      if (!Object.hasOwn(this.#options.definitions, name)) return undefined
      if (scope !== 'cluster' && scope.nodeId !== this.#options.nodeId) return undefined
      const record = decodeSetting(entry.value)
      const stored = scope === 'cluster' ? this.#cluster : this.#node
      if (record.reset) stored.delete(name)
      else stored.set(name, { record, revision: entry.modRevision })
      return name
    } catch (error) {
      this.#options.env.logger.warn({ error }, 'a stored setting cannot be read and is ignored')
      return undefined
    }
  }

  /** Works out the value that counts; one that this release's check refuses is passed over, loudly. */
  #settle(name: string): void {
    const definition = definitionOf(this.#options.definitions, name)
    let value: unknown = definition.default
    for (const stored of [this.#node.get(name), this.#cluster.get(name)]) {
      if (stored === undefined) continue
      try {
        value = definition.check(stored.record.value)
        break
      } catch (error) {
        this.#options.env.logger.warn(
          { name, error },
          'a stored value does not fit its setting and is passed over',
        )
      }
    }
    const before = this.#current.get(name)
    if (JSON.stringify(before) === JSON.stringify(value)) return
    this.#current.set(name, value)
    this.#events.emit('change', name, definition.secret === true ? undefined : value)
  }
}

function checkScope(scope: unknown): void {
  if (scope === 'cluster') return
  checkMembers(scope, "the scope of a setting, unless it is 'cluster',", ['nodeId'])
  checkName((scope as { readonly nodeId?: unknown }).nodeId, 'the node of a scope')
}
