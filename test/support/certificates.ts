import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/*
 * X.509 certificates for tests, written by hand in DER (ITU-T X.690, RFC 5280): Node makes keys and signatures, but no
 * certificates, and files in the tree would expire.
 */

/** A key and its certificate in PEM. */
export interface TestCertificate {
  readonly key: string
  readonly cert: string
}

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content])
  const length = content.length.toString(16)
  const bytes = Buffer.from(length.length % 2 === 0 ? length : `0${length}`, 'hex')
  return Buffer.concat([Buffer.from([tag, 0x80 | bytes.length]), bytes, content])
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts)
const set = (...parts: readonly Uint8Array[]): Buffer => der(0x31, ...parts)
const integer = (bytes: Uint8Array): Buffer => der(0x02, bytes)
const boolean = (value: boolean): Buffer => der(0x01, Buffer.from([value ? 0xff : 0]))
const octets = (content: Uint8Array): Buffer => der(0x04, content)
const bits = (content: Uint8Array): Buffer => der(0x03, Buffer.from([0]), content)
const time = (text: string): Buffer => der(0x18, Buffer.from(text))
const oid = (hexadecimal: string): Buffer => der(0x06, Buffer.from(hexadecimal, 'hex'))

const ecdsaWithSha256 = sequence(oid('2a8648ce3d040302'))
const name = (commonName: string): Buffer =>
  sequence(set(sequence(oid('550403'), der(0x0c, Buffer.from(commonName)))))

const extension = (id: string, critical: boolean, value: Uint8Array): Buffer =>
  sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(value))

function certificate(
  subject: string,
  publicKey: KeyObject,
  issuer: string,
  issuerKey: KeyObject,
  extensions: readonly Buffer[],
): string {
  const serial = randomBytes(8)
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40
  const body = sequence(
    der(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    ecdsaWithSha256,
    name(issuer),
    sequence(time('20200101000000Z'), time('21200101000000Z')),
    name(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', body, { key: issuerKey, dsaEncoding: 'der' })
  const whole = sequence(body, ecdsaWithSha256, bits(signature))
  const lines = whole.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

/** An authority that makes certificates. */
export class TestAuthority {
  readonly cert: string
  readonly #name: string
  readonly #key: KeyObject

  constructor(commonName: string) {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    this.#name = commonName
    this.#key = privateKey
    const isAuthority = extension('551d13', true, sequence(boolean(true)))
    this.cert = certificate(commonName, publicKey, commonName, privateKey, [isAuthority])
  }

  /** A certificate with a common name, and further DNS names and the loopback address as alternative names. */
  issue(commonName: string, ...dnsNames: readonly string[]): TestCertificate {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const names = [
      ...dnsNames.map((dns) => der(0x82, Buffer.from(dns))),
      der(0x87, Buffer.from([127, 0, 0, 1])),
    ]
    const alternatives = extension('551d11', false, sequence(...names))
    const cert = certificate(commonName, publicKey, this.#name, this.#key, [alternatives])
    const key = createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))
    return { key: key.export({ type: 'pkcs8', format: 'pem' }) as string, cert }
  }
}
