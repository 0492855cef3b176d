// Realtime.co's main path over one node.

import { realtimePath } from './realtime-path.mjs';

realtimePath(1);
