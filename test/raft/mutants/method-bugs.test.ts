import { methodBugs } from './bugs.ts'
import { expectCaught } from './planted.ts'

expectCaught(methodBugs)
