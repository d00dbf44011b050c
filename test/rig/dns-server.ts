// A resolver in the cloud: knows the names that it is given, and says of all others that they do not exist. A script, run inside the
// cloud namespace by namespaces.ts: `node dns-server.ts HOST NAME=ADDRESS[,ADDRESS] ...`. Says `ready` when it answers.

import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { decode, encode, RECURSION_AVAILABLE } from 'dns-packet';

const NO_SUCH_NAME = 3;

const [, , host, ...names] = process.argv;
const records = new Map(
  names.map((pair) => {
    const [name, addresses] = pair.split('=') as [string, string];
    return [name, addresses.split(',').map((data) => ({ type: isIPv6(data) ? 'AAAA' : 'A', name, data }))];
  }),
);

const socket = createSocket('udp4');
socket.on('message', (message, { address, port }) => {
  const { id = 0, questions = [] } = decode(message);
  const known = questions.filter(({ name }) => records.has(name.toLowerCase()));
  const answers = known.flatMap(({ type, name }) =>
    records
      .get(name.toLowerCase())!
      .filter((record) => record.type === type)
      .map(({ data }) => ({ type: type as 'A' | 'AAAA', name, ttl: 60, data })),
  );
  const flags = RECURSION_AVAILABLE | (known.length > 0 ? 0 : NO_SUCH_NAME);
  socket.send(encode({ type: 'response', id, flags, questions, answers }), port, address);
});
socket.bind(53, host, () => console.log('ready'));
