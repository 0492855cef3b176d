// Pusher beyond its main path, over one node.

import { pusherWhole } from './pusher-whole.mjs';

pusherWhole(1);
