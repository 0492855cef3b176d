// PubNub beyond its main path, over three nodes.

import { pubnubWhole } from './pubnub-whole.mjs';

pubnubWhole(3);
