import { leaseBugs } from './lease-bugs.ts'
import { expectCaught } from './planted.ts'

expectCaught(leaseBugs)
