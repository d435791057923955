/**
 * What every module of keelson shares: the injected environment, errors, events, bytes, codecs and options.
 *
 * @module
 */
export * from './arguments.ts'
export * from './async.ts'
export * from './bytes.ts'
export * from './checksum.ts'
export * from './clock.ts'
export * from './codec.ts'
export * from './environment.ts'
export * from './errors.ts'
export * from './events.ts'
export * from './invariant.ts'
export * from './logger.ts'
export * from './metrics.ts'
export * from './node-environment.ts'
export * from './options.ts'
export * from './random.ts'
export * from './sliced.ts'
