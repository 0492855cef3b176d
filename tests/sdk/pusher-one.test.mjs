// Pusher's main path over one node.

import { pusherPath } from './pusher-path.mjs';

pusherPath(1);
