import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkOptions, functionOption, objectOption, optional, wordOption } from '../core/options.ts'
import type { DatagramContext } from '../interfaces/datagram.ts'
import type { PeerIdentity, Resolve, TransportContext } from '../interfaces/transport.ts'
import { idOption, nameOption } from '../model/ids.ts'

const environment = objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics'])

/**
 * Checks what a transport is opened with, the same for every adapter.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function checkTransportContext(context: TransportContext): TransportContext {
  const where = 'the context of a transport'
  // A host may hand on what it has; no more than this is looked at.
  const {
    env,
    clusterId,
    founding,
    self: identity,
    resolve,
  } = objectOption<TransportContext>()(context, where)
  return checkOptions<TransportContext>(
    where,
    { env, clusterId, founding, self: identity, resolve },
    {
      env: environment,
      clusterId: optional(nameOption),
      founding: optional(idOption),
      self: (value, name) => {
        const { nodeId, incarnation, role } = objectOption<PeerIdentity>()(value, name)
        return checkOptions<PeerIdentity>(
          name,
          { nodeId, incarnation, role },
          {
            nodeId: nameOption,
            incarnation: idOption,
            role: wordOption(['node', 'client']),
          },
        )
      },
      resolve: functionOption<Resolve>(),
    },
    ({ self }) => {
      if (clusterId !== undefined || self.role === 'client') return
      throw new KeelsonError('INVALID_OPTION', 'a node belongs to a cluster: its transport needs a clusterId')
    },
  )
}

/** Checks what a socket for packets is opened with. @throws KeelsonError `INVALID_OPTION` */
export function checkDatagramContext(context: DatagramContext): DatagramContext {
  const where = 'the context of a datagram socket'
  const { env, clusterId, nodeId } = objectOption<DatagramContext>()(context, where)
  return checkOptions<DatagramContext>(
    where,
    { env, clusterId, nodeId },
    {
      env: environment,
      clusterId: nameOption,
      nodeId: nameOption,
    },
  )
}
