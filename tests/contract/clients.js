// What the tests let JavaScript clients do: node clients.js SCENARIO BASE_URL [ARGUMENT]. Prints one JSON value.
// Modules are found by NODE_PATH.
'use strict';
const WebSocket = require('ws');
const { EventSource } = require('eventsource');

const [scenario, base, argument] = process.argv.slice(2);

function open(path, protocols, options) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(base.replace('http', 'ws') + path, protocols, { maxPayload: 1 << 25, ...options });
    socket.heard = [];
    socket.waiting = [];
    socket.on('message', (data, binary) => {
      const message = binary ? data : data.toString();
      const next = socket.waiting.shift();
      next ? next(message) : socket.heard.push(message);
    });
    socket.message = () => new Promise((got) => {
      socket.heard.length ? got(socket.heard.shift()) : socket.waiting.push(got);
    });
    socket.closed = new Promise((got) => socket.on('close', (code, reason) => got([code, reason.toString()])));
    socket.on('open', () => resolve(socket));
    socket.on('error', reject);
    socket.on('unexpected-response', (request, response) => {
      const connection = response.socket; // which could serve on
      let body = '';
      response.on('data', (data) => { body += data; });
      response.on('end', () => {
        connection.destroy();
        reject(Object.assign(new Error(body), { status: response.statusCode }));
      });
    });
  });
}

const scenarios = {
  async messages() {
    const socket = await open('/test/echo');
    const answers = [];
    for (let i = 0; i < 100; i++) {
      socket.send(JSON.stringify({ message: `message ${i}`, number: String(i) }));
      answers.push(JSON.parse(await socket.message()));
    }
    socket.close(1000);
    return { answers, closed: await socket.closed };
  },

  // Fragments, both kinds, up to 16 MiB, with compression as the argument says.
  async raw() {
    const socket = await open('/test/echo/raw', [], { perMessageDeflate: argument === 'deflate' });
    const large = Buffer.alloc(16 << 20, 'large ');
    const same = [];
    socket.send('text ü');
    same.push(await socket.message() === 'text ü');
    socket.send(Buffer.from([0, 255]));
    same.push((await socket.message()).equals(Buffer.from([0, 255])));
    socket.send(large);
    same.push((await socket.message()).equals(large));
    for (let i = 0; i < 20000; i++) socket.send('part', { fin: i === 19999, binary: false });
    same.push(await socket.message() === 'part'.repeat(20000));
    socket.ping('are you there');
    const pong = await new Promise((got) => socket.once('pong', (data) => got(data.toString())));
    socket.close(4321, 'done');
    return { extensions: socket.extensions, same, pong, closed: await socket.closed };
  },

  async status() {
    const socket = await open('/test/echo');
    socket.send(JSON.stringify({ message: 'fail 5' }));
    return { closed: await socket.closed };
  },

  async collect() {
    const socket = await open('/test/collect');
    for (let i = 0; i < 1000; i++) socket.send('{"message": "abc"}');
    socket.close();
    return { closed: await socket.closed, heard: socket.heard };
  },

  async protocol() {
    const socket = await open('/test/echo', ['other', 'test.v1', 'bearer.abc.def']);
    socket.close();
    return { protocol: socket.protocol, closed: await socket.closed };
  },

  async refused() {
    try {
      await open(argument);
    } catch (error) {
      return { status: error.status, problem: JSON.parse(error.message) };
    }
    return null;
  },

  events() {
    return new Promise((resolve) => {
      const source = new EventSource(`${base}/test/count?count=3&interval=0.001s`);
      const numbers = [];
      let opened = 0;
      source.onopen = () => { opened++; };
      source.onmessage = (event) => {
        numbers.push([event.lastEventId, JSON.parse(event.data).number]);
        if (numbers.length < 3) return;
        source.close();
        resolve({ numbers, opened });
      };
    });
  },

  // Numbers that come once each, whatever happens to the gateway meanwhile. Says when it is connected.
  resume() {
    return new Promise((resolve) => {
      const source = new EventSource(`${base}/test/count?count=40&interval=0.02s`);
      const numbers = [];
      let opened = 0;
      source.onopen = () => { if (++opened === 1) console.error('open'); };
      source.onmessage = (event) => {
        numbers.push(Number(JSON.parse(event.data).number));
        if (numbers[numbers.length - 1] < 40) return;
        source.close();
        resolve({ numbers, opened });
      };
    });
  },
};

scenarios[scenario]().then(
  (result) => { console.log(JSON.stringify(result)); },
  (error) => { console.error(error); process.exitCode = 1; },
);
