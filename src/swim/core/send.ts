import type { NodeId } from '../../model/ids.ts'
import type { SwimMessage } from './messages.ts'

/** Sends messages in one packet to a member; its recipient's name is for buddy updates. */
export type SendTo = (
  address: string,
  messages: readonly SwimMessage[],
  recipient?: NodeId,
  reliable?: boolean,
) => void
