/**
 * keelson: the control plane of a distributed database, as a library.
 *
 * @module
 */
export * from './control-plane/index.ts'
export * from './core/index.ts'
export * from './interfaces/index.ts'
export * from './model/index.ts'
