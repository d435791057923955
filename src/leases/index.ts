/**
 * Session leases: exclusive rights to resources that have no quorum of their own (a primary with replicas, a
 * singleton), and the fence by which such a resource refuses older holders.
 *
 * @module
 */
export * from './core/book.ts'
export * from './core/fence.ts'
export { type LeaseActor, LeaseAudit } from './core/invariants.ts'
export type { LeaseChange, LeaseHistoryEntry, LeaseHolder } from './core/records.ts'
export * from './leases.ts'
export { type LeaseSession, type LeasesOptions, type LeasesTuning, leasesDefaults } from './options.ts'
