/**
 * Packets over UDP, for gossip.
 *
 * @module
 */
export { KeyRing } from './key-ring.ts'
export { type DatagramOptions, datagramDefaults } from './options.ts'
export { datagram } from './socket.ts'
