import { diskBugs } from './disk-bugs.ts'
import { expectCaught } from './planted.ts'

expectCaught(diskBugs)
