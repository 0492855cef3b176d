// PubNub beyond its main path, over one node.

import { pubnubWhole } from './pubnub-whole.mjs';

pubnubWhole(1);
