import { expectCaught } from '../support/bugs/expect-caught.ts'
import { compositionBugs } from './simulation/list.ts'

// One half of the bugs, so that two files run side by side: those at even places of the list.
expectCaught({
  ...compositionBugs,
  title: 'bugs that are planted in the composition',
  bugs: compositionBugs.bugs.filter((_, at) => at % 2 === 0),
  furtherSeeds: 12,
})
