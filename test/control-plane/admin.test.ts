// Who may ask the admin listener: this machine, or who has the token.

import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { serveAdmin } from '../../src/control-plane/admin.ts';
import { type Address, formatAddress, isLocal, parseAddress } from '../../src/wire/address.ts';
import { layby } from '../cli/layby-process.ts';

const TOKEN = 'a-token-of-sixteen-or-more';

const serve = (address: Address, token?: string) =>
  serveAdmin(address, {
    queue: { host: '127.0.0.1', port: 9 },
    status: () => ({ destinations: [], sidecars: [] }),
    notReady: () => undefined,
    metrics: async () => 'layby_sidecars 0\n',
    override: async () => {},
    policy: () => ({}),
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
