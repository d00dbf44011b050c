// Calls to hosts that nothing in the policy names: refused in words that help, or, where the policy says so, passed on as they are,
// to the outside only, and never stored.

import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { type CurlOptions, curl } from '../rig/app.ts';
import { interfaceDown } from '../rig/faults/interface-down.ts';
import { startLayby } from '../rig/layby.ts';
import { noRoad } from '../rig/namespaces.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { makeScene } from './scene.ts';
import {
  answerTo,
  destination,
  echoed,
  http2App,
  http2Server,
  portOf,
  upgrade,
  webSocketServer,
} from './streams-scene.ts';

t.setTimeout(120_000);

const PROBLEM = 'https://layby.dev/problems/';

const passthrough = (policy: 'allow' | 'deny') =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Mesh',
    metadata: { name: 'mesh' },
    spec: { passthrough: policy },
  });

/** An address of this machine that is not its loopback. */
const outside = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address;

t.test(
  'where the policy lets them, calls go to the host itself',
  { skip: outside === undefined && 'needs an address beside the loopback' },
  async (t) => {
    const seen: { url: string; headers: IncomingHttpHeaders; raw: string[] }[] = [];
    const server = createServer(async (asked, answer) => {
      let body = '';
      for await (const piece of asked) body += piece;
      seen.push({ url: asked.url ?? '', headers: asked.headers, raw: asked.rawHeaders });
      answer.end(body || 'hello');
    }).listen(0, outside);
    await once(server, 'listening');
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    const port = portOf(server);
    const chat = await webSocketServer(t, 0, outside);
    const h2 = await http2Server(t, 0, (asked, answer) => answer.end(`h2 ${asked.url}`), outside);

    const outbound = await freePort();
    const policy = [
      passthrough('allow'),
      destination('named', { url: `http://${outside}:${port}/named` }),
      destination('denied', { url: `https://${outside}:${port}` }),
    ];
    const data = join(testdir(t), 'data');
    const layby = await startLayby({
      ...{ data, policy: policy.join('\n---\n'), outboundPort: outbound },
      extraArgs: ['--outbound', `0.0.0.0:${outbound}`],
    });
    t.teardown(() => layby.kill9('all'));
    const sidecar = layby.outbound;
    const call = async (method: string, url: string, options: CurlOptions = {}) => {
      const { status, body } = await curl(url, { via: sidecar, method, maxTime: 20, ...options });
      return { status, text: body.toString() };
    };
    /** A line as an app would write it, and all that comes back. */
    const raw = async (head: string): Promise<string> => {
      const socket = connect(outbound, '127.0.0.1');
      socket.write(head);
      let text = '';
      for await (const piece of socket.setEncoding('utf8')) text += piece;
      return text;
    };
    const refused = (text: string) => JSON.parse(text.slice(text.indexOf('{'))) as object;

    t.test('as the app sent them', async (t) => {
      const answer = await call('POST', `http://${outside}:${port}/a%2Fb?c=d`, {
        headers: ['x-mine: yes', 'layby-host: evil.example', 'user-agent:', 'accept:', 'content-type:'],
        body: 'a body',
      });
      t.match(answer, { status: 200, text: 'a body' });
      const { url, headers } = seen.at(-1)!;
      t.equal(url, '/a%2Fb?c=d');
      const { connection: _, 'x-forwarded-proto': __, ...rest } = headers;
      t.strictSame(rest, {
        'x-mine': 'yes',
        host: `${outside}:${port}`,
        'content-length': '6',
        'layby-passed': '1',
      });
      const named = await call('GET', 'http://named.example/x');
      t.match(named, { status: 200 });
      t.match(seen.at(-1), { url: '/named/x' }, 'what a destination names goes where that says');
      t.notMatch(seen.at(-1)!.raw.join(), /layby-passed/);
    });

    t.test('large bodies and chunked ones too', async (t) => {
      const large = 'x'.repeat(3_000_000);
      t.equal((await call('PUT', `http://${outside}:${port}/large`, { body: large })).text, large);
      const pieces = (async function* () {
        yield Buffer.from('in ');
        yield Buffer.from('pieces');
      })();
      t.equal(
        (await call('PUT', `http://${outside}:${port}/stream`, { body: { stream: pieces } })).text,
        'in pieces',
      );
    });

    t.test('WebSocket, HTTP/2 and CONNECT too', async (t) => {
      const app = await upgrade(sidecar, `http://${outside}:${chat.port}/room`);
      t.equal(app.status, 101);
      t.ok(await echoed(app.socket, Buffer.from('hello')));
      app.socket.destroy();
      t.match(
        await answerTo(http2App(t, sidecar).request({ ':authority': `${outside}:${h2}`, ':path': '/two' })),
        { status: 200, text: 'h2 /two' },
      );
      const asked = request({
        ...{ host: '127.0.0.1', port: outbound, method: 'CONNECT', agent: false },
        path: `${outside}:${port}`,
      }).end();
      const [answer, socket] = await once(asked, 'connect');
      t.equal(answer.statusCode, 200);
      socket.write('GET /tunnel HTTP/1.1\r\nhost: inner\r\nconnection: close\r\n\r\n');
      let text = '';
      for await (const piece of socket) text += piece;
      t.match(text, /^HTTP\/1\.1 200.*hello$/s);
    });

    t.test('a host that leads back to the sidecar is told so, once', async (t) => {
      const before = seen.length;
      const answer = await call('GET', `http://${outside}:${outbound}/`);
      t.equal(answer.status, 508);
      t.match(JSON.parse(answer.text), { type: `${PROBLEM}passthrough-loop`, status: 508 });
      t.equal(seen.length, before);
    });

    t.test('nobody reaches what listens on the loopback of the sidecar', async (t) => {
      const visited: string[] = [];
      const inner = createServer((asked, answer) => {
        visited.push(asked.headers.host ?? '');
        answer.end('secret');
      }).listen(0);
      await once(inner, 'listening');
      t.teardown(() => {
        inner.closeAllConnections();
        inner.close();
      });
      const names = ['127.0.0.1', 'localhost', '0.0.0.0', '127.1.2.3', '[::1]', '[::ffff:127.0.0.1]', '[::]'];
      for (const name of names) {
        const authority = `${name}:${portOf(inner)}`;
        const answer = await call('GET', `http://${authority}/`);
        t.equal(answer.status, 403, authority);
        t.match(JSON.parse(answer.text), { type: `${PROBLEM}passthrough-refused` }, authority);
        const tunnel = await raw(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n\r\n`);
        t.match(tunnel, /^HTTP\/1\.1 403/, `CONNECT ${authority}`);
        t.match(refused(tunnel), { type: `${PROBLEM}passthrough-refused` });
      }
      t.match(await raw('GET / HTTP/1.1\r\nhost: 169.254.169.254\r\nconnection: close\r\n\r\n'), / 403 /);
      t.same(visited, []);
    });

    t.test('what is no host is refused as ever, and so is an https URL without a tunnel', async (t) => {
      const before = seen.length;
      const get = (line: string, host = `${outside}:${port}`) =>
        raw(`GET ${line} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
      t.match(await get('/', `u@${outside}:${port}`), /^HTTP\/1\.1 400/);
      t.match(await get(`https://${outside}:${port}/`), /^HTTP\/1\.1 400.*CONNECT/s);
      t.match(await raw(`CONNECT u@${outside}:${port} HTTP/1.1\r\nhost: a\r\n\r\n`), /^HTTP\/1\.1 400/);
      t.match(await raw(`CONNECT denied.example:${port} HTTP/1.1\r\nhost: a\r\n\r\n`), /tunnel-refused/);
      t.equal(seen.length, before);
      const app = await upgrade(sidecar, `http://${outside}:${port}/`, { headers: { upgrade: 'other' } });
      t.equal(app.status, 200, 'an upgrade to anything else is ignored');
    });

    t.test('a host that is not there is no-link, and nothing is stored', async (t) => {
      const gone = await freePort();
      for (const authority of [`${outside}:${gone}`, 'nowhere.invalid']) {
        const answer = await call('PUT', `http://${authority}/x`, { body: 'x' });
        t.equal(answer.status, 503, authority);
        t.match(JSON.parse(answer.text), { type: `${PROBLEM}no-link` });
      }
      t.same(await layby.queue(), []);
    });

    t.test('an edit that denies is in force at once, and takes nothing else with it', async (t) => {
      t.match(
        await layby.cli('policy', 'explain', `http://${outside}/`),
        /goes straight to .*passthrough is allow/s,
      );
      await writeFile(`${data}.policy.yaml`, [passthrough('deny'), ...policy.slice(1)].join('\n---\n'));
      let answer = await call('GET', `http://${outside}:${port}/`);
      while (answer.status === 200) answer = await call('GET', `http://${outside}:${port}/`);
      t.equal(answer.status, 421);
      t.match(JSON.parse(answer.text), {
        type: `${PROBLEM}host-unknown`,
        status: 421,
        detail: new RegExp(`names ${outside}:${port}\\..*spec\\.hosts.*passthrough`),
      });
      t.match(await call('GET', 'http://named.example/x'), { status: 200 });
    });
  },
);

t.test('a lost link is a 503 for what passes, and no entry', { skip: noRoad }, async (t) => {
  const { road, oracle, layby, call, dir } = await makeScene(t);
  const file = join(dir, 'data.policy.yaml');
  const url = `${oracle.url}/passed`;
  t.equal((await call(url)).status, 421);
  await writeFile(file, `${passthrough('allow')}\n---\n${await readFile(file, 'utf8')}`);
  while ((await call(url)).status === 421);
  t.equal((await call(url, { method: 'PUT', body: 'x' })).status, 200);
  const fault = interfaceDown(road);
  await fault.inject();
  const lost = await call(url, { method: 'PUT', body: 'y' });
  t.equal(lost.status, 503);
  t.match(JSON.parse(lost.body.toString()), { type: `${PROBLEM}no-link` });
  await fault.clear();
  t.equal((await call(url, { method: 'PUT', body: 'z' })).status, 200);
  t.same(await layby.queue(), []);
});

t.test(
  'a name that nobody could resolve without a link is known within seconds of its return',
  { skip: noRoad },
  async (t) => {
    const { road, oracle, call, dir } = await makeScene(t, {
      before: (road) =>
        road.resolver({ 'known.example': road.cloud.address, 'asked.example': road.cloud.address }),
    });
    const file = join(dir, 'data.policy.yaml');
    const port = new URL(oracle.url).port;
    const url = (name: string) => `http://${name}.example:${port}/passed`;
    await writeFile(file, `${passthrough('allow')}\n---\n${await readFile(file, 'utf8')}`);
    while ((await call(url('known'))).status === 421);
    t.equal((await call(url('known'))).status, 200);
    const fault = interfaceDown(road);
    await fault.inject();
    t.equal((await call(url('asked'))).status, 503, 'asked for the first time without a link');
    await fault.clear();
    const back = performance.now();
    while ((await call(url('asked'))).status !== 200) await sleep(200);
    const took = performance.now() - back;
    t.comment(`${Math.round(took)} ms after the link was back`);
    t.ok(took < 15_000, `${took} ms`);
  },
);
