import { hostBugs } from './host-bugs.ts'
import { expectCaught } from './planted.ts'

expectCaught(hostBugs)
