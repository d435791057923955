/**
 * Messages, streams and packets within one process, for development clusters and tests.
 *
 * @module
 */
export {
  type MemoryDatagrams,
  type MemoryDatagramsOptions,
  memoryDatagrams,
  memoryDatagramsDefaults,
} from './datagrams.ts'
export {
  type CutOptions,
  type MemoryNetwork,
  type MemoryNetworkOptions,
  memoryNetwork,
  memoryNetworkDefaults,
} from './network.ts'
