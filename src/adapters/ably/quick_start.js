// npm install ably
const ably = new Ably.Realtime({
  key: '{ABLY_KEY}', // on a server only; a page takes authUrl or authCallback
  endpoint: '{HOST}', port: {PORT}, tls: false, disableConnectivityCheck: true,
});
const channel = ably.channels.get('my-channel');
channel.subscribe('greeting', (message) => console.log(message.data)).then(() => channel.publish('greeting', 'hello'));
