import { expectCaught } from './planted.ts'
import { recoveryBugs } from './recovery-bugs.ts'

expectCaught(recoveryBugs)
