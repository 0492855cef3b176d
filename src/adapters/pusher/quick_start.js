// In the page: npm install pusher-js
const pusher = new Pusher('{PUSHER_APP_KEY}', {
  cluster: 'local', // required by the SDK, not used
  wsHost: '{HOST}', wsPort: {PORT}, forceTLS: false,
  enabledTransports: ['ws'], // without this the SDK falls back to other hosts
});
pusher.subscribe('my-channel').bind('my-event', (data) => console.log(data));

// On the server: npm install pusher
const server = new PusherServer({
  appId: '{PUSHER_APP_ID}', key: '{PUSHER_APP_KEY}', secret: '{PUSHER_APP_SECRET}',
  host: '{HOST}', port: '{PORT}', useTLS: false,
});
server.trigger('my-channel', 'my-event', { message: 'hello' });
