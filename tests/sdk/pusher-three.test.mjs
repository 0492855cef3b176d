// Pusher's main path over three nodes: subscribers, publishers and queries meet at different ones.

import { pusherPath } from './pusher-path.mjs';

pusherPath(3);
