/**
 * Where the metadata store counts numbers that must not come twice, whatever becomes of the store: a counter below one of these keys
 * is set back by no backup that is brought in. One that is kept elsewhere would be.
 */
export const counterKeys: {
  /** The highest range id that was ever given out. */
  readonly ranges: '/ranges/last-id'
  /** The last job that was created. */
  readonly jobs: '/jobs/last'
  /** The last id of a table, a column or an element. */
  readonly schema: '/schema/last-id'
  /** Last sequences of leases, each under the name of its lease. */
  readonly leaseSequences: '/leases/sequences/'
} = Object.freeze({
  ranges: '/ranges/last-id',
  jobs: '/jobs/last',
  schema: '/schema/last-id',
  leaseSequences: '/leases/sequences/',
})
