// Ably's main path on a single node.

import { ablyPath } from './ably-path.mjs';

ablyPath(1);
