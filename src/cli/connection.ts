import { type Admin, PlaneClient } from '../control-plane/index.ts'
import { deadline } from '../core/async.ts'
import { KeelsonError } from '../core/errors.ts'
import { nodeEnvironment } from '../core/node-environment.ts'
import { certificateNamesNode, type WebSocketOptions, webSocket } from '../transport/websocket/index.ts'
import { readBytes } from './files.ts'
import { type FlagName, type Flags, said, Usage, wholeNumber } from './words.ts'

/** Options of every command that talks to a cluster. */
export const connectionFlags: readonly FlagName[] = [
  'cluster',
  'seeds',
  'ca',
  'cert',
  'key',
  'insecure',
  'name',
  'timeout',
  'json',
]

/** What they mean. */
export const connectionHelp = `All of them reach the cluster over the network:

  --cluster ID            the cluster
  --seeds HOST:PORT,…     servers of its control plane, some of them or all
  --cert FILE --key FILE  the certificate by which this command is known, and its key, in PEM: then all is encrypted
  --ca FILE               authorities whose certificates are accepted; default: the system's
  --insecure              plaintext beyond this machine, which everybody on the network can read and change
  --name NAME             certificates name nodes, not machines: that of this command says NAME, that of each server its name
  --timeout SECONDS       how long to wait for an answer; default: 15, for what-if 130
  --json                  for programs
`

const defaultSeconds = 15

/** Connects to the cluster that the flags name, for as long as `act` takes. @throws {Usage} and KeelsonError, `TIMEOUT` among them */
export async function withCluster<T>(
  flags: Flags,
  act: (admin: Admin, call: { readonly signal: AbortSignal }) => Promise<T>,
  seconds: number = defaultSeconds,
): Promise<T> {
  const clusterId = said(flags, 'cluster')
  const seeds = said(flags, 'seeds').split(',')
  const options = security(flags)
  const limitS = wholeNumber(flags, 'timeout', 1) ?? seconds
  const env = nodeEnvironment()
  const late = (): KeelsonError =>
    new KeelsonError(
      'TIMEOUT',
      `no answer from ${seeds.join(', ')} within ${limitS} s; see that the servers run, that most of them reach each other, and that addresses and certificates are right`,
    )
  const limit = deadline(env.timers, limitS * 1000, late)
  const call = { signal: limit.signal }
  try {
    await using client = await PlaneClient.connect(
      {
        env,
        clusterId,
        seeds,
        transport: webSocket(options),
        ...(flags.name === undefined ? {} : { name: flags.name }),
      },
      call,
    )
    return await act(client.admin, call)
  } finally {
    limit.release()
  }
}

function security({ ca, cert, key, insecure, name }: Flags): WebSocketOptions {
  if (cert === undefined && key === undefined && ca === undefined) return { insecure: insecure === true }
  if (insecure === true)
    throw new Usage('--insecure is for plaintext, and --cert, --key and --ca are for TLS')
  if (cert === undefined) throw new Usage('--cert is missing')
  if (key === undefined) throw new Usage('--key is missing')
  return {
    tls: { cert: readBytes(cert), key: readBytes(key), ...(ca === undefined ? {} : { ca: readBytes(ca) }) },
    ...(name === undefined ? {} : { verifyPeer: certificateNamesNode }),
  }
}
