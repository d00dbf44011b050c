// Who may ask the admin listener: this machine, or who has the token.

import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { serveAdmin } from '../../src/control-plane/admin.ts';
import { startQueue } from '../../src/queue/queue.ts';
import { logger } from '../../src/telemetry/log.ts';
import { type Address, formatAddress, isLocal, parseAddress } from '../../src/wire/address.ts';
import { layby } from '../cli/layby-process.ts';

const TOKEN = 'a-token-of-sixteen-or-more';

const serve = (address: Address, token?: string, hosts: string[] = []) =>
  serveAdmin(address, {
    queue: { host: '127.0.0.1', port: 9 },
    status: () => ({ destinations: [], sidecars: [] }),
    notReady: () => undefined,
    metrics: async () => 'layby_sidecars 0\n',
    override: async () => {},
    policy: () => ({}),
    log: logger('control-plane'),
    hosts,
    ...(token !== undefined && { token }),
  });

t.test('without a token it is not opened to other machines', async (t) => {
  await t.rejects(serve({ host: '0.0.0.0', port: 0 }), {
    code: 'LAYBY_ADDRESS_EXPOSED',
    remedy: /--admin-token-file/,
  });
  for (const [text, local] of Object.entries({
    'unix:/run/admin.sock': true,
    '127.0.0.1:1': true,
    '127.8.0.1:1': true,
    '[::1]:1': true,
    'localhost:1': true,
    '0.0.0.0:1': false,
    '[::]:1': false,
    '10.0.0.1:1': false,
    'vehicle.example:1': false,
    '127.0.0.1.example:1': false,
  }))
    t.equal(isLocal(parseAddress(text)), local, text);
});

t.test('the queue’s own is not opened to other machines at all', async (t) => {
  const unix = { unix: '/nowhere/x.sock' };
  await t.rejects(
    startQueue({
      ...{ dir: '/nowhere', listen: unix, egress: unix, control: unix, log: logger('queue') },
      admin: { host: '0.0.0.0', port: 0 },
    }),
    { code: 'LAYBY_ADDRESS_EXPOSED', remedy: /Unix socket/ },
  );
});

t.test('with a token everything but health and readiness wants it', async (t) => {
  const { server, address } = await serve({ host: '127.0.0.1', port: 0 }, TOKEN);
  t.teardown(() => server.close());
  const ask = async (path: string, authorization?: string) => {
    const answer = await fetch(`http://${formatAddress(address)}${path}`, {
      headers: authorization === undefined ? {} : { authorization },
    });
    return [answer.status, await answer.text()];
  };
  for (const path of ['/v1/status', '/v1/queue', '/metrics', '/nothing', '/healthz?x', '//healthz']) {
    for (const wrong of [undefined, '', 'Bearer', `Bearer ${TOKEN}x`, TOKEN, `Basic ${TOKEN}`])
      t.match(await ask(path, wrong), [401, /LAYBY_ADMIN_REFUSED/], `${path} ${wrong}`);
  }
  t.match(await ask('/v1/status', `Bearer ${TOKEN}`), [200, /destinations/]);
  t.match(await ask('/metrics', `Bearer ${TOKEN}`), [200, /layby_sidecars/]);
  t.same(await ask('/healthz'), [200, 'ok\n']);
  t.same(await ask('/readyz'), [200, 'ready\n']);
});

t.test('the command line takes the token from a file, and speaks to a Unix socket', async (t) => {
  // Sockets have short names.
  const dir = await mkdtemp(join(tmpdir(), 'layby-'));
  t.teardown(() => rm(dir, { recursive: true }));
  const [file, socket] = [join(dir, 'token'), join(dir, 'a.sock')];
  await writeFile(file, `${TOKEN}\n`);
  await chmod(file, 0o600);
  const { server } = await serve({ unix: socket }, TOKEN);
  t.teardown(() => server.close());
  const status = (env: Record<string, string>) =>
    layby(['status', '--json', '--admin', `unix:${socket}`], { ...process.env, ...env });
  t.match(await status({}), { code: 1, said: [/wants its token.*LAYBY_ADMIN_TOKEN_FILE/] });
  t.match(await status({ LAYBY_ADMIN_TOKEN_FILE: file }), { code: 0, stdout: /"destinations"/ });
  await writeFile(file, 'short');
  t.match(await status({ LAYBY_ADMIN_TOKEN_FILE: file }), { code: 1, said: [/no token.*openssl rand/] });
});

/** The status and code of a request with these headers, as they are. */
const asked = (port: number, headers: Record<string, string>, method = 'GET', path = '/v1/status') =>
  new Promise<[number, string]>((resolve, reject) => {
    request({ host: '127.0.0.1', port, method, path, headers, agent: false }, async (response) => {
      const said = await text(response);
      resolve([response.statusCode!, /LAYBY_ADMIN_[A-Z]+_REFUSED/.exec(said)?.[0] ?? '']);
    })
      .on('error', reject)
      .end();
  });

const HOST_REFUSED = [421, 'LAYBY_ADMIN_HOST_REFUSED'];
const SITE_REFUSED = [403, 'LAYBY_ADMIN_SITE_REFUSED'];
const TYPE_REFUSED = [415, 'LAYBY_ADMIN_TYPE_REFUSED'];

t.test('it is called by its addresses and the names that it was given, and by no other', async (t) => {
  const { server, address } = await serve({ host: '127.0.0.1', port: 0 }, undefined, ['Vehicle.example']);
  t.teardown(() => server.close());
  const { port } = address as { port: number };
  for (const host of [
    ...['127.0.0.1', `127.0.0.1:${port}`, '10.1.2.3:15000', '[::1]', `[fd00::1]:${port}`],
    ...['localhost', `LOCALHOST:${port}`, 'localhost.', 'layby', 'vehicle.example', 'VEHICLE.example:1'],
  ])
    t.same(await asked(port, { host }), [200, ''], host);
  for (const host of [
    ...[
      'evil.example',
      `evil.example:${port}`,
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      'layby.io',
    ],
    ...[
      ':',
      '[',
      '[::1',
      '[evil]',
      '127.0.0.1@evil.example',
      'evil.example:80:80',
      '1.2.3',
      'x.vehicle.example',
    ],
  ])
    t.same(await asked(port, { host }), HOST_REFUSED, host);
  t.same(
    await asked(port, { host: 'evil.example' }, 'GET', '/readyz'),
    HOST_REFUSED,
    'nor is readiness said',
  );
});

t.test('what a page of another site makes a browser send is refused', async (t) => {
  const { server, address } = await serve({ host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  const { port } = address as { port: number };
  const host = `127.0.0.1:${port}`;
  t.same(await asked(port, { host, origin: `http://${host}` }), [200, '']);
  for (const origin of [
    'null',
    'http://evil.example',
    `http://127.0.0.1:${port + 1}`,
    'http://127.0.0.1',
    'x',
  ])
    t.same(await asked(port, { host, origin }), SITE_REFUSED, origin);
  for (const site of ['none', 'same-origin'])
    t.same(await asked(port, { host, 'sec-fetch-site': site }), [200, ''], site);
  for (const site of ['cross-site', 'same-site', 'x'])
    t.same(await asked(port, { host, 'sec-fetch-site': site }), SITE_REFUSED, site);
});

t.test('what changes something is application/json and nothing else, also without a body', async (t) => {
  const { server, address } = await serve({ host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  const { port } = address as { port: number };
  const host = 'localhost';
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
    t.same(await asked(port, { host }, method), TYPE_REFUSED, method);
    for (const type of [
      'text/plain',
      'text/plain; application/json',
      'application/jsonx',
      'multipart/form-data',
    ])
      t.same(await asked(port, { host, 'content-type': type }, method), TYPE_REFUSED, `${method} ${type}`);
  }
  for (const type of ['application/json', 'Application/JSON; charset=utf-8'])
    t.same(await asked(port, { host, 'content-type': type }, 'POST'), [404, ''], type);
});

t.test('a request with the token may call it by any name, and is no page of another site', async (t) => {
  const { server, address } = await serve({ host: '127.0.0.1', port: 0 }, TOKEN);
  t.teardown(() => server.close());
  const { port } = address as { port: number };
  const authorization = `Bearer ${TOKEN}`;
  t.same(await asked(port, { host: 'layby-edge.layby.svc', authorization }), [200, '']);
  t.same(await asked(port, { host: 'layby-edge.layby.svc' }), HOST_REFUSED);
  t.same(await asked(port, { host: 'x', authorization, origin: 'http://evil.example' }), SITE_REFUSED);
});

t.test('a wrong name for --admin-host is refused with what is right', async (t) => {
  for (const name of ['http://vehicle.example', 'vehicle.example:15000', '', '*'])
    t.match(
      await layby(['up', '--admin-host', name]),
      { code: 1, said: [/not a host name.*without port/] },
      name,
    );
});
