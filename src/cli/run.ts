import { existsSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { inspectServer, recoverServer, type StoppedServerOptions } from '../control-plane/index.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { nodeEnvironment } from '../core/node-environment.ts'
import { closest } from '../core/options.ts'
import type { LogStoreFactory } from '../interfaces/log-store.ts'
import type { GroupReport } from '../raft/index.ts'
import { levelLog, openLevel } from '../storage/level/index.ts'
import { segments } from '../storage/segments/index.ts'

/** Where a command writes. */
interface Output {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
}

const help = `keelson <command> [options]

  inspect   what a stopped server of the control plane has, as JSON
  recover   brings a control plane back that has lost most of its servers for good

Both take the server as it is opened by the program that runs it, which must not run:

  --cluster ID         the cluster
  --node NAME          the server
  --log KIND:DIR       its log, segments:DIR or level:DIR
  --database DIR       its database

When most servers of a control plane are lost and will not come back, committed metadata may be lost, too. Where one of
them can be repaired, do that instead. Otherwise:

  1. Stop all servers that are left, and be sure that the lost ones never start again.
  2. On each that is left:  keelson inspect … > NAME.json
  3. Bring all these files to each of them, and there:
     keelson recover … --survivors NAME.json,NAME.json --accept-data-loss --confirm 'recover group 1'
  4. Start them as ever. Replace the lost ones by new servers, opened with join(…).

  --survivors FILE,…   what inspect said of all servers that are left, the same files everywhere
  --accept-data-loss   that you know what this may cost
  --confirm WORDS      'recover group 1', spelled out
`

const options = {
  cluster: { type: 'string' },
  node: { type: 'string' },
  log: { type: 'string' },
  database: { type: 'string' },
  survivors: { type: 'string' },
  'accept-data-loss': { type: 'boolean' },
  confirm: { type: 'string' },
  help: { type: 'boolean' },
} as const

type Flags = ReturnType<typeof parseArgs<{ options: typeof options; strict: true }>>['values']

const commands: Readonly<Record<string, (flags: Flags, output: Output) => Promise<void>>> = {
  inspect,
  recover,
}

/** Somebody has to read the help again. */
class Usage extends Error {}

/**
 * Carries out the command that the words say. What goes wrong is one line, with the code of the error.
 *
 * @returns 0; 1 when it failed, 2 when nobody understands the words
 */
export async function run(words: readonly string[], output: Output): Promise<number> {
  try {
    const { flags, positionals } = readWords(words)
    const [name, ...more] = positionals
    if (flags.help === true || name === undefined) {
      output.out(help)
      return flags.help === true ? 0 : 2
    }
    const command = commands[name]
    if (command === undefined)
      throw new Usage(`there is no command '${name}'${suggestion(name, Object.keys(commands), '')}`)
    if (more.length > 0) throw new Usage(`what is '${more[0]}' to say?`)
    await command(flags, output)
    return 0
  } catch (thrown) {
    if (thrown instanceof Usage) {
      output.err(`keelson: ${thrown.message}; see keelson --help\n`)
      return 2
    }
    const { code, message } = toKeelsonError(thrown)
    output.err(`keelson: ${code}: ${message}\n`)
    return 1
  }
}

function readWords(words: readonly string[]): {
  readonly flags: Flags
  readonly positionals: readonly string[]
} {
  const args = [...words]
  const { tokens } = parseArgs({ args, strict: false, tokens: true, options })
  for (const token of tokens) {
    if (token.kind !== 'option' || Object.hasOwn(options, token.name)) continue
    throw new Usage(`there is no option --${token.name}${suggestion(token.name, Object.keys(options), '--')}`)
  }
  try {
    const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
    return { flags: values, positionals }
  } catch (error) {
    throw new Usage((error as Error).message)
  }
}

function suggestion(word: string, known: readonly string[], dashes: string): string {
  const near = closest(word, known)
  return near === undefined ? '' : `; did you mean ${dashes}${near}?`
}

async function inspect(flags: Flags, { out }: Output): Promise<void> {
  const report = await withServer(flags, inspectServer)
  out(`${JSON.stringify(report, undefined, 2)}\n`)
}

async function recover(flags: Flags, { out }: Output): Promise<void> {
  const survivors = said(flags, 'survivors').split(',').map(readReport)
  const { recoveryGeneration, source, configuration, repeated, commitIndex, lastIndex } = await withServer(
    flags,
    (server) =>
      recoverServer({
        ...server,
        survivors,
        acceptDataLoss: flags['accept-data-loss'] === true,
        confirm: flags.confirm ?? 'nothing',
      }),
  )
  const servers = configuration.replicas.map(({ nodeId }) => nodeId).join(', ')
  out(
    `${repeated ? 'had been recovered before, nothing was written' : 'recovered'}: the control plane goes on with ${servers}, ` +
      `recovery generation ${recoveryGeneration}.\n` +
      `Its log is that of ${source.nodeId}, known to be committed up to entry ${commitIndex}. ` +
      `Whatever was committed beyond entry ${lastIndex} is lost.\n` +
      'Do the same on all of them before you start any, and never start those that were left out.\n',
  )
}

/** Opens what a server has, and closes it. Nothing is made that is not there. */
async function withServer<T>(flags: Flags, act: (server: StoppedServerOptions) => Promise<T>): Promise<T> {
  const log = logOf(said(flags, 'log'))
  const clusterId = said(flags, 'cluster')
  const nodeId = said(flags, 'node')
  await using database = await openLevel(there(said(flags, 'database')), { create: false })
  return await act({ env: nodeEnvironment(), clusterId, nodeId, log, database })
}

function said(flags: Flags, name: 'cluster' | 'node' | 'log' | 'database' | 'survivors'): string {
  const value = flags[name]
  if (value === undefined || value === '') throw new Usage(`--${name} is missing`)
  return value
}

function logOf(place: string): LogStoreFactory {
  const [, kind, directory] = /^(segments|level):(.+)$/.exec(place) ?? []
  if (kind === undefined || directory === undefined) {
    throw new Usage(`--log takes segments:DIR or level:DIR, not '${place}'`)
  }
  return kind === 'level' ? levelLog(there(directory)) : segments(there(directory))
}

function there(directory: string): string {
  if (existsSync(directory)) return directory
  throw new KeelsonError('NOT_FOUND', `there is no directory ${directory}`)
}

function readReport(path: string): GroupReport {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new KeelsonError('NOT_FOUND', `${path} cannot be read`, { cause })
  }
  try {
    return JSON.parse(text) as GroupReport
  } catch (cause) {
    throw new KeelsonError('INVALID_ARGUMENT', `${path} is not what 'keelson inspect' printed`, { cause })
  }
}
