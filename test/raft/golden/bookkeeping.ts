/** Key and value. */
export const bookkeeping1: readonly [string, string][] = [
  ['position', '01000000000200000007000000000000000600000000000000'],
  ['configuration', '012b01000000000000940104929401a161cb4310000000000000019446a464622d320500920046'],
  ['terms', '010101c80107'],
  ['replica', '010900000000000000'],
  ['result/300/2', '646f6e65'],
  ['session/300', '0106ad0201'],
]

/** Since version 2 the results of a batch are one block. */
export const bookkeeping2: readonly [string, string][] = [
  ...bookkeeping1.slice(0, 4),
  ['results/300/2', '010004646f6e65'],
  ['session/300', '0206ad0201'],
]

/** Since version 3 it says which group it is of. Earlier releases pass over that. */
export const bookkeeping3: readonly [string, string][] = [
  ...bookkeeping2.slice(0, 4),
  ['group', '010000000004000000'],
  ...bookkeeping2.slice(4),
]
