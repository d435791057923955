/** Without a recovery generation. */
export const metadata1: string = '9501cb4210000000000000c3c2c3'

export const metadata2: string = '9802cb4210000000000000c3c2c3030409'

/** Of a replica that may have pledged itself. */
export const metadata2Pledged: string = '9902cb4210000000000000c3c2c3030409cd04d2'

/** Of a replica that was recovered from a lost quorum. */
export const metadata3: string = '9a03cb4210000000000000c3c2c303040900cb4200000000000000'
