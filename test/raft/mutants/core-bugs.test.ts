import { coreBugs } from './core-bugs.ts'
import { expectCaught } from './planted.ts'

expectCaught(coreBugs)
