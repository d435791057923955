/**
 * Packets over UDP, for gossip: encrypted and authenticated with a ring of keys, or in plaintext on the loopback
 * interface.
 *
 * @module
 */
export { KeyRing } from './key-ring.ts'
export { type DatagramOptions, datagramDefaults } from './options.ts'
export { datagram } from './socket.ts'
