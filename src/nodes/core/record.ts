import { checkArray, checkMembers, checkObject, checkText } from '../../core/arguments.ts'
import { copyBytes } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields, type Plain } from '../../core/codec.ts'
import { type ErrorDetails, KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import type { Load, NodeDescriptor, NodeState, StoreDescriptor } from '../../model/descriptors.ts'
import { checkId, checkName, type Incarnation, type NodeId } from '../../model/ids.ts'
import { formatLocality, parseLocality } from '../../model/locality.ts'

const nodeStates = ['active', 'draining', 'drained', 'decommissioned'] as const

/** A node that once joined, as the store keeps it. Whether it is alive is not in it: that is its session. */
export interface NodeRecord {
  /** What it said of itself when it joined last. */
  readonly descriptor: NodeDescriptor
  /** Where it is in its life. */
  readonly state: NodeState
  /** Why it is in that state. */
  readonly reason: string
  /** Hash of the secret with which this incarnation proves who it is. */
  readonly credentialHash: Uint8Array
  /** Hash of the token with which this incarnation joined: a repeated call is known by it. */
  readonly tokenHash: Uint8Array
  /** Wall times, for people. */
  readonly joinedAtMs: number
  /** Wall time of the last change, for people. */
  readonly changedAtMs: number
}

/** The limits of a {@link NodeDescriptor}. */
export const nodeDescriptorLimits: Readonly<{
  /** Most addresses of a node. */
  addresses: number
  /** Longest address, in characters. */
  addressLength: number
  /** Most tiers of a locality. */
  tiers: number
  /** Most resources in a load or a capacity. */
  resources: number
  /** Most labels of a node. */
  labels: number
  /** Longest name or value, in characters. */
  nameLength: number
  /** Most stores of a node. */
  stores: number
}> = Object.freeze({
  addresses: 8,
  addressLength: 256,
  tiers: 8,
  resources: 32,
  labels: 64,
  nameLength: 128,
  stores: 64,
})

const members = ['nodeId', 'incarnation', 'addresses', 'locality', 'capacity', 'labels', 'stores'] as const

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkNodeDescriptor(descriptor: NodeDescriptor): NodeDescriptor {
  checkMembers(descriptor, 'the descriptor of a node', members)
  checkName(descriptor.nodeId, 'a node id')
  checkId(descriptor.incarnation, 'an incarnation')
  const limits = nodeDescriptorLimits
  const refuse = (problem: string): never => {
    throw new KeelsonError('INVALID_ARGUMENT', `the descriptor of node ${descriptor.nodeId} ${problem}`)
  }
  const { addresses, locality, capacity, labels } = descriptor
  checkArray(addresses, 'the addresses of a node')
  checkArray(locality, 'the locality of a node')
  checkObject(capacity, 'the capacity of a node')
  checkObject(labels, 'the labels of a node')
  if (addresses.length > limits.addresses) refuse(`has more than ${limits.addresses} addresses`)
  for (const address of addresses) {
    if (typeof address !== 'string' || address.length === 0 || address.length > limits.addressLength)
      refuse(`has an address that is not host:port: ${showValue(address)}`)
  }
  if (locality.length > limits.tiers) refuse(`has more than ${limits.tiers} tiers of locality`)
  for (const tier of locality) {
    checkMembers(tier, 'a tier of locality', ['key', 'value'])
    checkText(tier.key, 'the key of a tier', 32)
    checkText(tier.value, 'the value of a tier', 64)
    // What does not read as it is written would be refused by everybody who reads the node.
    parseLocality(`${tier.key}=${tier.value}`)
  }
  checkAmounts(capacity, refuse)
  checkLabels(labels, refuse)
  const { stores } = descriptor
  if (stores === undefined) return descriptor
  if (checkArray(stores, 'the stores of a node').length > limits.stores)
    refuse(`has more than ${limits.stores} stores`)
  for (const store of stores) {
    checkMembers(store, 'a store of a node', ['storeId', 'capacity', 'labels'])
    checkStoreId(store.storeId)
    checkAmounts(checkObject(store.capacity, 'the capacity of a store'), refuse)
    checkLabels(checkObject(store.labels, 'the labels of a store'), refuse)
  }
  if (new Set(stores.map(({ storeId }) => storeId)).size < stores.length)
    refuse('has two stores of one name; give each its own')
  return descriptor
}

/** A name of a store: not empty, and not too long. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkStoreId(storeId: string): string {
  return checkText(storeId, 'the name of a store', nodeDescriptorLimits.nameLength)
}

/** Whether something is an amount of a resource: a number from 0 to the largest safe integer, up to which sums are exact. */
export function isAmount(value: unknown): boolean {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER
}

function checkAmounts(capacity: Load, refuse: (problem: string) => never): void {
  const { resources, nameLength } = nodeDescriptorLimits
  if (Object.keys(capacity).length > resources) refuse(`has more than ${resources} resources`)
  for (const [name, amount] of Object.entries(capacity)) {
    if (name.length === 0 || name.length > nameLength)
      refuse(`has a resource whose name has no or more than ${nameLength} characters`)
    if (!isAmount(amount))
      refuse(`has ${showValue(amount)} of ${name}; a capacity is a number from 0 to the largest safe integer`)
  }
}

function checkLabels(labels: Readonly<Record<string, string>>, refuse: (problem: string) => never): void {
  const { labels: most, nameLength } = nodeDescriptorLimits
  if (Object.keys(labels).length > most) refuse(`has more than ${most} labels`)
  for (const [name, value] of Object.entries(labels)) {
    if (typeof value !== 'string')
      refuse(`has a label ${showValue(name)} that is no text: ${showValue(value)}`)
    if (name.length === 0 || name.length > nameLength || value.length > nameLength) {
      refuse(`has a label of no or more than ${nameLength} characters`)
    }
  }
}

/** Amounts by resource name as plain data, sorted by name so that equal amounts have equal bytes. */
export function plainAmounts(amounts: Load): Plain {
  return Object.keys(amounts)
    .sort()
    .map((name) => [name, amounts[name] as number])
}

/** The inverse of {@link plainAmounts}. The result has no prototype, whatever names come in. */
export function readAmounts(fields: Fields, name: string): Load {
  const amounts: Record<string, number> = Object.create(null) as Record<string, number>
  for (const [key, value] of fields.list(name, (f) => [f.string('name'), f.number('amount')] as const)) {
    amounts[key] = value
  }
  return amounts
}

/** A node's descriptor as plain data. */
export function plainNodeDescriptor(descriptor: NodeDescriptor): Plain {
  return [
    descriptor.nodeId,
    descriptor.incarnation,
    descriptor.addresses,
    formatLocality(descriptor.locality),
    plainAmounts(descriptor.capacity),
    plainLabels(descriptor.labels),
    // Readers of an older release stop before the stores, and take the node for one store.
    ...(descriptor.stores === undefined
      ? []
      : [
          descriptor.stores.map((store) => [
            store.storeId,
            plainAmounts(store.capacity),
            plainLabels(store.labels),
          ]),
        ]),
  ]
}

function plainLabels(labels: Readonly<Record<string, string>>): Plain {
  return Object.keys(labels)
    .sort()
    .map((name) => [name, labels[name] as string])
}

function readLabels(fields: Fields): Record<string, string> {
  const labels: Record<string, string> = Object.create(null) as Record<string, string>
  for (const [key, value] of fields.list('labels', (f) => [f.string('name'), f.string('value')] as const)) {
    labels[key] = value
  }
  return labels
}

function readStore(fields: Fields): StoreDescriptor {
  return {
    storeId: fields.string('storeId'),
    capacity: readAmounts(fields, 'capacity'),
    labels: readLabels(fields),
  }
}

/** The inverse of {@link plainNodeDescriptor}. @throws KeelsonError `MALFORMED`, `INVALID_ARGUMENT` */
export function readNodeDescriptor(fields: Fields): NodeDescriptor {
  return checkNodeDescriptor(readUnchecked(fields))
}

function readUnchecked(fields: Fields): NodeDescriptor {
  const nodeId: NodeId = fields.string('nodeId')
  const incarnation: Incarnation = fields.uint('incarnation')
  const addresses = fields.scalars('addresses', (f) => f.string('address'))
  const locality = parseLocality(fields.string('locality'))
  const capacity = readAmounts(fields, 'capacity')
  const labels = readLabels(fields)
  const stores = fields.more ? { stores: fields.list('stores', readStore) } : {}
  return { nodeId, incarnation, addresses, locality, capacity, labels, ...stores }
}

/** Earlier releases took capacities of any size. Such a one is read as the largest that there is. */
function withinBounds(descriptor: NodeDescriptor): NodeDescriptor {
  const { capacity, stores } = descriptor
  return {
    ...descriptor,
    capacity: bounded(capacity),
    ...(stores === undefined
      ? {}
      : { stores: stores.map((store) => ({ ...store, capacity: bounded(store.capacity) })) }),
  }
}

function bounded(amounts: Load): Load {
  const within: Record<string, number> = Object.create(null) as Record<string, number>
  for (const [name, amount] of Object.entries(amounts))
    within[name] = Math.min(amount, Number.MAX_SAFE_INTEGER)
  return within
}

const formatVersion = 1

/** Encodes a node for the store. */
export function encodeNodeRecord(record: NodeRecord): Uint8Array {
  return encodePlain([
    formatVersion,
    plainNodeDescriptor(record.descriptor),
    record.state,
    record.reason,
    record.credentialHash,
    record.tokenHash,
    record.joinedAtMs,
    record.changedAtMs,
  ])
}

/** The inverse of {@link encodeNodeRecord}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeNodeRecord(bytes: Uint8Array): NodeRecord {
  const fields = new Fields(decodePlain(copyBytes(bytes), 'a node record'), 'a node record')
  checkVersion(fields.uint('version'), 'a node record')
  return {
    descriptor: malformed('a node record', () =>
      checkNodeDescriptor(withinBounds(readUnchecked(fields.nested('descriptor')))),
    ),
    state: fields.oneOf('state', nodeStates),
    reason: fields.string('reason'),
    credentialHash: fields.bytes('credentialHash'),
    tokenHash: fields.bytes('tokenHash'),
    joinedAtMs: fields.number('joinedAtMs'),
    changedAtMs: fields.number('changedAtMs'),
  }
}

/** What is a caller's mistake elsewhere is malformed in what was read. @throws KeelsonError `MALFORMED` */
export function malformed<T>(what: string, check: () => T, details: ErrorDetails = {}): T {
  try {
    return check()
  } catch (cause) {
    if (!KeelsonError.hasCode(cause, 'INVALID_ARGUMENT', 'LIMIT_EXCEEDED')) throw cause
    throw new KeelsonError('MALFORMED', `${what} is not valid: ${cause.message}`, { cause, details })
  }
}

/** @throws KeelsonError `FORMAT_VERSION` */
export function checkVersion(version: number, what: string): void {
  if (version === formatVersion) return
  throw new KeelsonError(
    'FORMAT_VERSION',
    `${what} has format ${version}, this release knows ${formatVersion}; upgrade this process first`,
  )
}

/** What is stored of a join token: never the token itself. */
export interface TokenRecord {
  /** Wall time after which it is refused. */
  readonly expiresAtMs: number
  readonly reason: string
}

/** Encodes what is stored of a token. */
export function encodeTokenRecord(record: TokenRecord): Uint8Array {
  return encodePlain([formatVersion, record.expiresAtMs, record.reason])
}

/** The inverse of {@link encodeTokenRecord}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeTokenRecord(bytes: Uint8Array): TokenRecord {
  const fields = new Fields(decodePlain(bytes, 'a token record'), 'a token record')
  checkVersion(fields.uint('version'), 'a token record')
  return { expiresAtMs: fields.number('expiresAtMs'), reason: fields.string('reason') }
}

/** What a node's session key holds. */
export function encodeLiveNode(incarnation: Incarnation): Uint8Array {
  return encodePlain([formatVersion, incarnation])
}

/** The inverse of {@link encodeLiveNode}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeLiveNode(bytes: Uint8Array): { readonly incarnation: Incarnation } {
  const fields = new Fields(decodePlain(bytes, 'a live node'), 'a live node')
  checkVersion(fields.uint('version'), 'a live node')
  return { incarnation: fields.uint('incarnation') }
}
