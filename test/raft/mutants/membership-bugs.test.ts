import { membershipBugs } from './membership-bugs.ts'
import { expectCaught } from './planted.ts'

expectCaught(membershipBugs)
