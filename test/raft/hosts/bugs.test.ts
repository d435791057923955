import { expectCaught } from '../../support/bugs/expect-caught.ts'
import { hostBugList } from './list.ts'

expectCaught({ ...hostBugList, title: 'bugs that are planted in hosts', furtherSeeds: 40 })
