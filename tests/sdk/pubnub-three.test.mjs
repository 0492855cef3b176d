// The PubNub suite over 3 node(s).
import { suite } from './pubnub-path.mjs';

suite(3);
