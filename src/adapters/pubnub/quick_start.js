// npm install pubnub
const pubnub = new PubNub({
  origin: '{HOST}:{PORT}', ssl: false, userId: 'ana',
  publishKey: '{PUBNUB_PUBLISH_KEY}', subscribeKey: '{PUBNUB_SUBSCRIBE_KEY}',
  // secretKey: '{PUBNUB_SECRET_KEY}' on a server that grants
});
pubnub.addListener({ message: ({ message }) => console.log(message) });
pubnub.subscribe({ channels: ['my-channel'] });
pubnub.publish({ channel: 'my-channel', message: { text: 'hello' } });
