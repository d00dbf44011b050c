// What apps encrypt themselves, by CONNECT and as TLS that is led to the sidecar: to hosts that a destination names and whose policy
// allows it, to one port, and nowhere else (law 4).

import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { createServer, get } from 'node:https';
import { connect as connectTcp, createServer as createTcpServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import * as x509 from '@peculiar/x509';
import t from 'tap';
import { freePort } from '../rig/ports.ts';
import { destination, http2App, portOf } from './streams-scene.ts';
import { mesh } from './treatment-scene.ts';

t.setTimeout(120_000);

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
const certificate = await x509.X509CertificateGenerator.createSelfSigned({
  name: 'CN=secure.example',
  keys,
  signingAlgorithm: algorithm,
  extensions: [
    new x509.SubjectAlternativeNameExtension([
      { type: 'dns', value: 'secure.example' },
      { type: 'dns', value: '*.secure.example' },
    ]),
  ],
});
const cert = certificate.toString('pem');
const key = x509.PemConverter.encode(
  await webcrypto.subtle.exportKey('pkcs8', keys.privateKey),
  'PRIVATE KEY',
);

const server = createServer({ cert, key }, (request, response) => {
  const { 'content-length': length = '0' } = request.headers;
  request.pipe(response.writeHead(200, { 'content-length': length }));
}).listen(0, '127.0.0.1');
await once(server, 'listening');
t.teardown(() => {
  server.closeAllConnections();
  server.close();
});
const port = portOf(server);

/** Where nobody may come. */
const visitors: Socket[] = [];
const forbidden = createTcpServer((socket) => visitors.push(socket)).listen(0, '127.0.0.1');
await once(forbidden, 'listening');
t.teardown(() => forbidden.close());

const gone = await freePort();
const outboundTls = await freePort();
const url = `https://127.0.0.1:${port}`;
const { layby } = await mesh(
  t,
  [
    destination('secure', { url }, { tunnel: 'allow', hosts: ['secure.example', '*.secure.example'] }),
    destination('denied', { url }, { hosts: ['denied.example', '127.0.0.1'] }),
    destination('gone', { url: `https://127.0.0.1:${gone}` }, { tunnel: 'allow' }),
    destination('plain', { url: `http://127.0.0.1:${portOf(forbidden)}` }),
  ].join('\n---\n'),
  ...['--outbound-tls', `127.0.0.1:${outboundTls}`],
);
const [host, outbound] = layby.outbound.split(':');

/** What a client does for https:// URLs where http_proxy is set. */
const tunnel = (path: string): Promise<{ status: number; text: string; socket: Socket }> =>
  new Promise((resolve, reject) => {
    const asked = request({ host, port: outbound, method: 'CONNECT', path, agent: false }).end();
    asked.on('error', reject);
    asked.on('connect', async (answer, socket, head) => {
      const status = answer.statusCode ?? 0;
      let text = head.toString();
      if (status !== 200) {
        const wanted = Number(answer.headers['content-length'] ?? 0);
        while (Buffer.byteLength(text) < wanted) text += (await once(socket, 'data'))[0];
      }
      resolve({ status, text, socket });
    });
  });

/** A request over TLS in this stream, answered with its own body. */
const overTls = async (socket: Duplex, servername: string): Promise<boolean> => {
  const secured = connectTls({ socket, servername, ca: cert });
  await once(secured, 'secureConnect');
  const body = randomBytes(500_000);
  secured.write(`PUT / HTTP/1.1\r\nhost: ${servername}\r\ncontent-length: ${body.length}\r\n\r\n`);
  secured.write(body);
  let said = Buffer.alloc(0);
  // Not by one listener for each piece: several may come at once.
  for await (const piece of secured) {
    said = Buffer.concat([said, piece as Buffer]);
    if (said.includes(body)) break;
  }
  return said.toString('latin1').startsWith('HTTP/1.1 200');
};

t.test('CONNECT leads to the upstream of a host whose policy allows it', async (t) => {
  for (const name of ['secure.example', 'a.b.secure.example', 'SECURE.example']) {
    const { status, socket } = await tunnel(`${name}:${port}`);
    t.equal(status, 200, name);
    if (!name.startsWith('a.b'))
      t.ok(await overTls(socket, 'secure.example'), 'and the app speaks with the server itself');
    socket.destroy();
  }
  t.same(await layby.queue(), []);
});

t.test('over HTTP/2 too, with TLS inside', async (t) => {
  const session = http2App(t, layby.outbound);
  await once(session, 'remoteSettings');
  const stream = session.request({ ':method': 'CONNECT', ':authority': `secure.example:${port}` });
  const [answer] = await once(stream, 'response');
  t.equal(answer[':status'], 200);
  t.ok(await overTls(stream, 'secure.example'), 'and the app speaks TLS in it with the server itself');
  stream.close();
});

t.test('everything else is refused in clear words, and nobody is called', async (t) => {
  const other = portOf(forbidden);
  const type = 'https://layby.dev/problems/tunnel-refused';
  for (const [path, status, problem] of [
    [
      `secure.example:${other}`,
      403,
      { type, title: `The policy allows tunnels to port ${port} of this host, and to no other` },
    ],
    [`denied.example:${port}`, 403, { type, title: 'The policy allows no tunnel to this host' }],
    [`plain.example:${other}`, 403, { type }],
    [`evil.example:${other}`, 421, { type: 'https://layby.dev/problems/host-unknown' }],
    [`127.0.0.1:${other}`, 403, { type }],
    [`localhost:${other}`, 421, { type: 'https://layby.dev/problems/host-unknown' }],
  ] as [string, number, object][]) {
    const answer = await tunnel(path);
    t.equal(answer.status, status, path);
    t.match(JSON.parse(answer.text), { status, ...problem }, path);
    answer.socket.destroy();
  }
  for (const path of ['secure.example', `u@x.secure.example:${port}`, `secure.example:${port}.evil.example`])
    t.ok([400, 403, 421].includes((await tunnel(path)).status), path);
  t.same(visitors, []);
});

t.test('what the operator has stopped takes no tunnel', async (t) => {
  await layby.link('down', 'secure');
  const { status, text } = await tunnel(`secure.example:${port}`);
  t.equal(status, 503);
  t.match(JSON.parse(text), { type: 'https://layby.dev/problems/no-link' });
  await layby.link('auto', 'secure');
  const again = await tunnel(`secure.example:${port}`);
  t.equal(again.status, 200);
  again.socket.destroy();
});

t.test('without a link the app is told so', async (t) => {
  const { status, text } = await tunnel(`gone.example:${gone}`);
  t.equal(status, 503);
  t.match(JSON.parse(text), { type: 'https://layby.dev/problems/no-link' });
});

/** How a TLS connection to the sidecar ends: with a server that proves to be this one, or with none. */
const led = (servername: string): Promise<string> =>
  new Promise((resolve) => {
    const asked = get({
      ...{ host, port: outboundTls, servername, ca: cert, agent: false },
      headers: { host: servername },
    });
    asked.on('response', ({ statusCode }) => resolve(String(statusCode)));
    asked.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'error'));
  });

t.test('TLS that is led to the sidecar goes where its server name says, and else nowhere', async (t) => {
  t.equal(await led('secure.example'), '200');
  t.equal(await led('a.secure.example'), '200');
  for (const name of ['denied.example', 'evil.example', ''])
    t.equal(await led(name), 'ECONNRESET', name || 'no name');
  const plain = connectTcp(outboundTls, host);
  plain.on('error', () => {});
  plain.write('GET / HTTP/1.1\r\nhost: secure.example\r\n\r\n');
  const ended = new Promise((done) => plain.once('close', done));
  plain.resume();
  await ended;
  t.equal(plain.bytesRead, 0, 'what is no TLS is hung up on');
  t.same(await layby.queue(), []);
});
