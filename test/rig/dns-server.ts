// A resolver in the cloud: knows the names that it is given, and says of all others that they do not exist. A script, run inside the
// cloud namespace by namespaces.ts: `node dns-server.ts HOST NAME=ADDRESS ...`. Says `ready` when it answers.

import { createSocket } from 'node:dgram';
import { decode, encode, RECURSION_AVAILABLE } from 'dns-packet';

const NO_SUCH_NAME = 3;

const [, , host, ...names] = process.argv;
const addresses = new Map(names.map((pair) => pair.split('=') as [string, string]));

const socket = createSocket('udp4');
socket.on('message', (message, { address, port }) => {
  const { id = 0, questions = [] } = decode(message);
  const known = questions.filter(({ name }) => addresses.has(name.toLowerCase()));
  const answers = known
    .filter(({ type }) => type === 'A')
    .map(({ name }) => ({ type: 'A' as const, name, ttl: 60, data: addresses.get(name.toLowerCase())! }));
  const flags = RECURSION_AVAILABLE | (known.length > 0 ? 0 : NO_SUCH_NAME);
  socket.send(encode({ type: 'response', id, flags, questions, answers }), port, address);
});
socket.bind(53, host, () => console.log('ready'));
