/**
 * A transport within one process, for development clusters and tests.
 *
 * @module
 */
export {
  type CutOptions,
  type MemoryNetwork,
  type MemoryNetworkOptions,
  memoryNetwork,
  memoryNetworkDefaults,
} from './network.ts'
