/** Version of the command format. A replica that meets a later one stops and says so. */
export const commandVersion = 1

/** What commands there are, by the number that stands for them in the log. */
export const commandTypes = [
  'txn',
  'compact',
  'grant',
  'revoke',
  'checkpoint',
  'clear',
  'verify',
  'advance',
  'raise',
] as const

/** The number of transactions. */
export const typeOfTransactions: number = commandTypes.indexOf('txn')
