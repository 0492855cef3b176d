// Ably's main path over three nodes: subscribers, publishers and queries meet at different ones.

import { ablyPath } from './ably-path.mjs';

ablyPath(3);
