// Realtime.co's main path over three nodes.

import { realtimePath } from './realtime-path.mjs';

realtimePath(3);
