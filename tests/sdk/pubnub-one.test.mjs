// The PubNub suite over 1 node(s).
import { suite } from './pubnub-path.mjs';

suite(1);
