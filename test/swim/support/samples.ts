import type { SwimMessage } from '../../../src/swim/core/messages.ts'
import { Statement } from '../../../src/swim/core/statement.ts'

export const sender = { nodeId: 'db1', incarnation: 300, version: 2 }

const protocols = { minimum: 2, maximum: 3 }

/** One message of every kind, by kind. */
export const samples: { readonly [K in SwimMessage['kind']]: SwimMessage & { readonly kind: K } } = {
  ping: { kind: 'ping', sequence: 4_294_967_295, target: 'db2' },
  ack: {
    kind: 'ack',
    sequence: 1,
    responder: 'db2',
    coordinate: { vector: [1, -1, 0.5, 0, 0, 0, 0, 100], heightMs: 0.25, error: 1.5 },
  },
  indirectPing: { kind: 'indirectPing', sequence: 2, target: 'db3', patienceMs: 500 },
  nack: { kind: 'nack', sequence: 2 },
  alive: {
    kind: 'alive',
    statement: new Statement({
      nodeId: 'db2',
      incarnation: 9,
      version: 5,
      address: '[::1]:1',
      metadata: new Uint8Array([1, 2]),
      protocols,
    }),
  },
  suspect: { kind: 'suspect', nodeId: 'db3', version: 5, accuser: 'db1' },
  dead: { kind: 'dead', nodeId: 'db3', version: 5, accuser: 'db1' },
  left: { kind: 'left', nodeId: 'db4', incarnation: 300, version: 7 },
  offer: {
    kind: 'offer',
    buckets: Uint32Array.from({ length: 32 }, (_, i) => i * 0x0800_0001),
    clock: 77,
    news: 0xabcd_ef01,
  },
  state: {
    kind: 'state',
    mask: 0x8000_0001,
    wantReturn: true,
    records: [
      {
        statement: new Statement({
          nodeId: 'db2',
          incarnation: 9,
          version: 5,
          address: 'host:65535',
          metadata: new Uint8Array(0),
          metadataBytes: 4_000,
          metadataChecksum: 0xdead_beef,
          protocols,
        }),
        state: 'suspect',
        version: 5,
        accusedVersion: 6,
        ageMs: 0,
        accuser: 'db1',
      },
      {
        statement: new Statement({
          nodeId: 'db5',
          incarnation: 0,
          version: 1,
          address: '',
          metadata: new Uint8Array(0),
          protocols,
        }),
        state: 'dead',
        version: 0xffff_ffff,
        accusedVersion: 0xffff_ffff,
        ageMs: 86_400_000,
        accuser: '',
      },
    ],
  },
  event: {
    kind: 'event',
    origin: 'db1',
    time: 300,
    id: 7,
    name: 'deploy',
    payload: new Uint8Array([1, 2, 3]),
  },
  query: {
    kind: 'query',
    origin: 'db1',
    time: 301,
    id: 8,
    name: 'load',
    payload: new Uint8Array(0),
  },
  answer: { kind: 'answer', id: 8, payload: new Uint8Array([9]) },
  hello: { kind: 'hello', token: new Uint8Array([4, 5]) },
  refusal: { kind: 'refusal', reason: 'no token' },
  fetch: { kind: 'fetch', nodeId: 'db2', version: 5, offset: 1_024 },
  chunk: { kind: 'chunk', nodeId: 'db2', version: 5, offset: 1_024, bytes: new Uint8Array([6, 7]) },
  recall: { kind: 'recall' },
  contest: { kind: 'contest', sequence: 300 },
  ballot: { kind: 'ballot', sequence: 300, incarnation: 9, address: '[::1]:1' },
  challenge: { kind: 'challenge', number: 0xfedc_ba98 },
  proof: { kind: 'proof', number: 0x0123_4567 },
}

export const everyMessage: readonly SwimMessage[] = Object.values(samples)
