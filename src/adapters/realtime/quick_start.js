// npm install ibtrealtimesjnode
const ortc = new IbtRealTimeSJNode();
ortc.setUrl('http://{HOST}:{PORT}');
ortc.onConnected = () => ortc.subscribe('my-channel', true, (_, channel, message) => console.log(message));
ortc.onSubscribed = () => ortc.send('my-channel', 'hello');
ortc.connect('{REALTIME_APPLICATION_KEY}', 'any-token');
