import { Rpc } from '../transport/index.ts'
import { checkClientOptions, type MetadataClientOptions } from './client/options.ts'
import { StoreClient } from './client/store-client.ts'

export {
  type ClientTuning,
  clientTuningDefaults,
  type MetadataClientOptions,
} from './client/options.ts'

/**
 * The metadata store over a network. It finds the leader and follows it, retries what is safe to retry until the call's
 * time is over, and resumes watches with any server.
 *
 * A write that was not answered is sent again with the same id, so that it takes effect once: `OUTCOME_UNKNOWN` comes
 * only when the time is over.
 */
export class MetadataClient extends StoreClient {
  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: MetadataClientOptions) {
    const checked = checkClientOptions(options)
    const { env, channel, servers } = checked
    const rpc = new Rpc({ env, channel })
    super({
      env,
      tuning: checked,
      servers,
      sticky: undefined,
      ask: async (peer, method, body, call) => rpc.call(peer, method, body, call),
      stream: (peer, method, body, call) => rpc.stream(peer, method, body, call),
      local: undefined,
      onClose: async () => rpc.close(),
    })
  }
}
