import type { SwimSnapshot } from '../../../src/swim/core/snapshot.ts'

// Snapshots as each release wrote them: never regenerate them. A change of the format is a new version of it.

const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

const content: SwimSnapshot = {
  version: 300,
  clock: 7,
  addresses: ['db2:7946', '[::1]:1'],
  ownRemoval: 5,
  admitted: [{ nodeId: 'db3', incarnation: 300 }],
  removed: [{ nodeId: 'db4', incarnation: 9, version: 1_048_575 }],
  heard: [0xfeedc0de, 1],
  forgotten: 3,
}

/** The same content in each format, as far as it goes: the first ends behind the addresses, and the fourth tells up to when news are forgotten. */
export const goldenSnapshot = {
  content,
  first: unhex('01ac020702086462323a37393436075b3a3a315d3a31'),
  second: unhex(
    '02ac020702086462323a37393436075b3a3a315d3a31050103646233ac02010364623409ffff3f02dec0edfe01000000',
  ),
  third: unhex(
    '03ac020702086462323a37393436075b3a3a315d3a31050103646233ac02010364623409ffff3f02dec0edfe0100000066b5047c',
  ),
  fourth: unhex(
    '04ac020702086462323a37393436075b3a3a315d3a31050103646233ac02010364623409ffff3f0302dec0edfe01000000249cf541',
  ),
}
