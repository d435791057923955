import { existsSync } from 'node:fs'
import { inspectServer, recoverServer, type StoppedServerOptions } from '../control-plane/index.ts'
import { KeelsonError } from '../core/errors.ts'
import { nodeEnvironment } from '../core/node-environment.ts'
import type { LogStoreFactory } from '../interfaces/log-store.ts'
import type { GroupReport } from '../raft/index.ts'
import { levelLog, openLevel } from '../storage/level/index.ts'
import { segments } from '../storage/segments/index.ts'
import { readJson } from './files.ts'
import { type Command, type Flags, noMore, said, type Terminal, Usage } from './words.ts'

/** How a stopped server is named. */
export const stoppedServer = `Both take the server as it is opened by the program that runs it, which must not run:

  --cluster ID         the cluster
  --node NAME          the server
  --log KIND:DIR       its log, segments:DIR or level:DIR
  --database DIR       its database
`

/** How a lost quorum is recovered from. */
export const recoverySteps = `When most servers of a control plane are lost and will not come back, committed metadata may be lost, too. Where one of
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

const place = ['cluster', 'node', 'log', 'database'] as const

/** What a stopped server of the control plane has. */
export const inspect: Command = {
  about: 'what a stopped server of the control plane has, as JSON',
  help: `keelson inspect --cluster ID --node NAME --log KIND:DIR --database DIR\n\n${stoppedServer}`,
  flags: place,
  run: async (words, flags, terminal) => {
    noMore(words)
    await inspectStopped(flags, terminal)
  },
}

/** Brings a control plane back. */
export const recover: Command = {
  about: 'brings a control plane back that has lost most of its servers for good',
  help: `keelson recover --cluster ID --node NAME --log KIND:DIR --database DIR --survivors FILE,…\n\n${stoppedServer}\n${recoverySteps}`,
  flags: [...place, 'survivors', 'accept-data-loss', 'confirm'],
  run: async (words, flags, terminal) => {
    noMore(words)
    await recoverStopped(flags, terminal)
  },
}

async function inspectStopped(flags: Flags, { out }: Terminal): Promise<void> {
  const report = await withServer(flags, inspectServer)
  out(`${JSON.stringify(report, undefined, 2)}\n`)
}

async function recoverStopped(flags: Flags, { out }: Terminal): Promise<void> {
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

function logOf(where: string): LogStoreFactory {
  const [, kind, directory] = /^(segments|level):(.+)$/.exec(where) ?? []
  if (kind === undefined || directory === undefined) {
    throw new Usage(`--log takes segments:DIR or level:DIR, not '${where}'`)
  }
  return kind === 'level' ? levelLog(there(directory)) : segments(there(directory))
}

function there(directory: string): string {
  if (existsSync(directory)) return directory
  throw new KeelsonError('NOT_FOUND', `there is no directory ${directory}`)
}

function readReport(path: string): GroupReport {
  return readJson(path, () => '', `what 'keelson inspect' printed`) as GroupReport
}
