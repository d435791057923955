/**
 * Compliance suites: what an adapter of one's own must do, as named cases for any test runner.
 *
 * @module
 */
export { type ComplianceCase, until } from './compliance.ts'
export { type LogStorePlace, type LogStoreSubject, logStoreCompliance } from './log-store.ts'
export { type MetadataStoreHarness, metadataStoreCompliance } from './metadata-store.ts'
export { type StateMachinePlace, type StateMachineSubject, stateMachineCompliance } from './state-machine.ts'
export { type TransportHarness, type TransportHarnessOptions, transportCompliance } from './transport.ts'
