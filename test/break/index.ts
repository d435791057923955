// Loaded before a process of the demo: an index that is write-only is not written.
import { IndexMaintenance } from '../../examples/citydb/index-maintenance.ts'

IndexMaintenance.prototype.adds = (state) => state === 'public'
