// Pusher beyond its main path, over three nodes.

import { pusherWhole } from './pusher-whole.mjs';

pusherWhole(3);
