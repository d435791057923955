import type { PeerCertificate } from 'node:tls'
import type { PeerIdentity } from '../../interfaces/transport.ts'

/** Keys and certificates of a node, in PEM or as Node takes them. */
export interface WebSocketTls {
  /** Private key. */
  readonly key: string | Uint8Array
  /** Certificate chain, the node's own first. */
  readonly cert: string | Uint8Array
  /**
   * Authorities whose certificates are accepted. When given, both sides must show a certificate (mutual TLS); absent, the
   * system's authorities vouch for servers and clients show nothing.
   */
  readonly ca?: string | Uint8Array | readonly (string | Uint8Array)[]
}

/** The same as Node's TLS takes it. */
export function secureOptions(tls: WebSocketTls): {
  key: string | Buffer
  cert: string | Buffer
  ca?: (string | Buffer)[]
  minVersion: 'TLSv1.2'
} {
  const bytes = (value: string | Uint8Array): string | Buffer =>
    typeof value === 'string' ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const list = (value: NonNullable<WebSocketTls['ca']>): (string | Buffer)[] =>
    Array.isArray(value) ? value.map(bytes) : [bytes(value as string | Uint8Array)]
  return {
    key: bytes(tls.key),
    cert: bytes(tls.cert),
    ...(tls.ca === undefined ? {} : { ca: list(tls.ca) }),
    minVersion: 'TLSv1.2',
  }
}

/**
 * For `verifyPeer`: a peer may only call itself what its certificate says, as common name or as one of the DNS names. A
 * peer without a certificate is refused.
 */
export function certificateNamesNode(peer: PeerIdentity, certificate: PeerCertificate | undefined): boolean {
  if (certificate === undefined) return false
  const commonName: unknown = certificate.subject?.CN
  if (commonName === peer.nodeId) return true
  const names = certificate.subjectaltname?.split(',').map((name) => name.trim()) ?? []
  return names.includes(`DNS:${peer.nodeId}`)
}
