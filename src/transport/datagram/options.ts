import {
  booleanOption,
  checkOptions,
  integerOption,
  type OptionCheck,
  objectOption,
  optional,
  stringOption,
} from '../../core/options.ts'
import { addressOption, isLoopback, isUnspecified, parseAddress } from '../addresses.ts'
import type { KeyRing } from './key-ring.ts'

/** What may be given to {@link datagram}. */
export interface DatagramOptions {
  /**
   * Where to listen; port 0 takes any free one. An IPv4 host makes a socket that reaches IPv4 members only, an IPv6 host one for IPv6;
   * `::` takes both and reaches both, with IPv4 members known by their IPv4 addresses.
   */
  readonly listen: {
    /** Address of a local interface, or of all of them. */
    readonly host: string
    /** UDP port. */
    readonly port: number
  }
  /**
   * `host:port` at which others reach this node, where it is not the one that it listens on. Needed where it listens on all
   * interfaces (`0.0.0.0`, `::`): nobody can send to those.
   */
  readonly advertise?: string
  /** Encrypts and authenticates every packet. Absent, packets are in plaintext. */
  readonly keyRing?: KeyRing
  /** Allows plaintext beyond the loopback interface. Everybody on the network can then read, change and forge gossip. */
  readonly insecure?: boolean
  /** Largest packet on the wire, in bytes: small enough not to be fragmented. */
  readonly maximumPacketBytes?: number
  /** Bytes that wait to be sent before further packets are dropped. */
  readonly maximumQueuedBytes?: number
}

/** Options with every default filled in. */
export interface CheckedDatagramOptions {
  readonly listen: { readonly host: string; readonly port: number }
  readonly advertise: string | undefined
  readonly keyRing: KeyRing | undefined
  readonly insecure: boolean
  readonly maximumPacketBytes: number
  readonly maximumQueuedBytes: number
}

/** What {@link datagram} uses where nothing is given. */
export const datagramDefaults: {
  /** See {@link DatagramOptions.maximumPacketBytes}. */
  readonly maximumPacketBytes: number
  /** See {@link DatagramOptions.maximumQueuedBytes}. */
  readonly maximumQueuedBytes: number
} = Object.freeze({
  maximumPacketBytes: 1_400,
  maximumQueuedBytes: 1024 * 1024,
})

const listenOption: OptionCheck<CheckedDatagramOptions['listen']> = (value, name) =>
  checkOptions<CheckedDatagramOptions['listen']>(name, value, {
    host: stringOption({ maxLength: 255 }),
    port: integerOption({ min: 0, max: 65_535 }),
  })

/** Checks the options of {@link datagram}. @throws KeelsonError `INVALID_OPTION` */
export function checkDatagramOptions(options: DatagramOptions): CheckedDatagramOptions {
  return checkOptions<CheckedDatagramOptions>(
    'datagram',
    options,
    {
      listen: listenOption,
      advertise: optional(addressOption),
      keyRing: optional(objectOption<KeyRing>(['primary', 'find'])),
      insecure: booleanOption(false),
      maximumPacketBytes: integerOption({
        min: 256,
        max: 65_507,
        fallback: datagramDefaults.maximumPacketBytes,
      }),
      maximumQueuedBytes: integerOption({ min: 1, fallback: datagramDefaults.maximumQueuedBytes }),
    },
    ({ listen, advertise, keyRing, insecure }, refuse) => {
      if (advertise === undefined && isUnspecified(listen.host))
        refuse(
          `listening on ${listen.host} takes packets on all interfaces and says nothing of where others reach this node; give advertise: 'host:port', or listen on one address`,
        )
      if (advertise !== undefined && isUnspecified(parseAddress(advertise).host))
        refuse(`nobody can send to ${advertise}; advertise an address at which others reach this node`)
      if (keyRing !== undefined || insecure || isLoopback(listen.host)) return
      refuse(
        `listening on ${listen.host} without keyRing would send gossip in plaintext; give keyRing, listen on 127.0.0.1, or set insecure: true`,
      )
    },
  )
}
