import { KeelsonError } from '../core/errors.ts'
import { type OptionCheck, showValue, stringOption } from '../core/options.ts'

/** A host and a port. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/**
 * Takes `host:port` apart; an IPv6 host stands in brackets.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function parseAddress(address: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+(?:%\w+)?)\]|([\w.-]+)):(\d{1,5})$/.exec(String(address))
  const port = Number(match?.[3])
  if (match === null || port < 1 || port > 65_535) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `an address is host:port, or [host]:port for IPv6, not ${showValue(address)}`,
    )
  }
  return { host: (match[1] ?? match[2]) as string, port }
}

/** {@link parseAddress} as the check of an option. @throws KeelsonError `INVALID_OPTION` */
export const addressOption: OptionCheck<string> = (value, name) => {
  const address = stringOption({ maxLength: 300 })(value, name)
  try {
    parseAddress(address)
    return address
  } catch (error) {
    throw new KeelsonError('INVALID_OPTION', `${name}: ${(error as Error).message}`)
  }
}

/** The inverse of {@link parseAddress}. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** True for the hosts that no other machine reaches. */
export function isLoopback(host: string): boolean {
  const bare = host.startsWith('::ffff:') ? host.slice(7) : host
  return bare === 'localhost' || bare === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(bare)
}

/** True for the hosts that stand for all interfaces: one can listen there, and not send there. */
export function isUnspecified(host: string): boolean {
  const bare = host.startsWith('::ffff:') ? host.slice(7) : host
  return /^0+(\.0+){0,3}$/.test(bare) || (/^[0:]+(%\w+)?$/.test(bare) && bare.includes(':'))
}
