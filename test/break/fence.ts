// Loaded before a process of the demo: the fence lets every command through, whatever lease it was made under, and no
// leader refuses one beforehand.
import { LeaseFence } from '../../src/raft/group/lease-fence.ts'

LeaseFence.prototype.admits = () => true
LeaseFence.isOver = () => false
