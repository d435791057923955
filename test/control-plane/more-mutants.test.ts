import { expectCaught } from './simulation/planted.ts'

expectCaught(1)
