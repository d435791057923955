/**
 * Deterministic simulation: virtual time, processes, networks and disks with faults, and a checker for
 * linearizability. Everything that takes an `Environment` runs in it unchanged, and one seed is one run.
 *
 * @module
 */
export * from './datagram.ts'
export * from './disk.ts'
export * from './disk-quality.ts'
export * from './explore.ts'
export * from './fault-counts.ts'
export * from './faults.ts'
export * from './linearizability.ts'
export * from './log-store.ts'
export * from './message-network.ts'
export * from './network-conditions.ts'
export * from './partitions.ts'
export * from './process.ts'
export * from './scheduler.ts'
export * from './sequential-models.ts'
export * from './shrink.ts'
export * from './simulated-file-system.ts'
export * from './simulated-files.ts'
export * from './simulation.ts'
export * from './trace.ts'
export * from './transport-network.ts'
export * from './transport-options.ts'
