import { expectCaught } from './planted.ts'
import { restBugs } from './rest-bugs.ts'

expectCaught(restBugs)
