// Who may read what waits, by the credentials that it was sent with.

import t from 'tap';
import { bearsCredentialsOf } from '../../src/queue/credentials.ts';
import { isCredential, isSecret } from '../../src/telemetry/secrets.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

const signed = (key: string, signature: string): string =>
  `AWS4-HMAC-SHA256 Credential=${key}/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=${signature}`;

t.test('what bears credentials by its name', async (t) => {
  for (const name of [
    ...[
      'Authorization',
      'Proxy-Authorization',
      'Cookie',
      'X-Api-Key',
      'Api-Key',
      'apikey',
      'X-Auth-Token',
      'X-Auth',
    ],
    ...[
      'X-Access-Token',
      'X-Amz-Security-Token',
      'X-Goog-Api-Key',
      'Ocp-Apim-Subscription-Secret',
      'X-Session-Id',
    ],
    ...[
      'Private-Token',
      'X-Vault-Token',
      'X-Client-Secret',
      'X-Password',
      'X-JWT',
      'Signature',
      'X-Hub-Signature',
    ],
    ...['x-amz-server-side-encryption-customer-key', 'X-Functions-Access-Key', 'X-MBX-APIKEY'],
  ])
    t.ok(isSecret(name) && isCredential(name), name);
  for (const name of [
    ...[
      'Accept',
      'Author',
      'X-Author',
      'Content-Type',
      'ETag',
      'If-Match',
      'Idempotency-Key',
      'Range',
      'User-Agent',
    ],
    ...[
      'x-amz-content-sha256',
      'x-amz-date',
      'x-amz-meta-cam',
      'x-amz-server-side-encryption-customer-key-md5',
      'Keep',
    ],
  ])
    t.notOk(isSecret(name), name);
  t.ok(isSecret('X-CSRF-Token') && !isCredential('X-CSRF-Token'), 'hidden, and another one in each request');
});

t.test('a request bears the credentials of an entry, or does not', async (t) => {
  const bears = (stored: string[], asked: string[], url = 'http://api.example/a', path = '/a') =>
    bearsCredentialsOf({ headers: stored, url }, asked, path);
  t.ok(bears([], []));
  t.ok(bears([], ['Cookie', 'a=1']), 'more than was needed');
  t.ok(bears(['Cookie', 'a=1; b=2'], ['cookie', 'b=2', 'cookie', 'a=1']), 'cookies have no order');
  t.notOk(bears(['Cookie', 'a=1; b=2'], ['cookie', 'a=1']));
  t.ok(bears(['X-Api-Key', 'k'], ['x-api-key', ' k ']));
  for (const name of ['Authorization', 'Cookie', 'X-Api-Key', 'X-Auth-Token', 'Api-Key'])
    for (const asked of [[], [name, 'b'], [name, ''], [name, 'a', name, 'b']])
      t.notOk(bears([name, 'a'], asked), `${name}: ${asked}`);
  t.notOk(bears(['Authorization', 'a', 'X-Api-Key', 'b'], ['authorization', 'a']), 'all of them');
  t.ok(bears(['Authorization', signed('AKID', 'one')], ['authorization', signed('AKID', 'two')]));
  t.notOk(bears(['Authorization', signed('AKID', 'one')], ['authorization', signed('OTHER', 'one')]));
  t.notOk(bears(['Authorization', signed('AKID', 'one')], []));
  const token = ['x-amz-security-token', 'of that hour'];
  t.ok(bears(['Authorization', signed('AKID', '1'), ...token], ['authorization', signed('AKID', '2')]));
  t.notOk(bears(token, []), 'a token alone is one');
  t.ok(bears(['Authorization', 'AWS AKID:x'], ['authorization', 'AWS AKID:y']));
  const presigned = '/a?X-Amz-Credential=AKID%2F20260101%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Signature=x';
  t.ok(bears([], ['authorization', signed('AKID', 'x')], `http://s3.example${presigned}`));
  t.notOk(bears([], [], `http://s3.example${presigned}`));
  t.ok(bears(['Authorization', signed('AKID', 'x')], [], undefined, presigned));
});

t.test('an app does not read what another one sent with its own credentials', async (t) => {
  t.teardown(() => at.stop());
  const at = await scene(
    testdir(t),
    [destinationOf('api', { mode: 'failover', methods: ['PUT', 'DELETE'], order: 'key' })],
    { remembered: null },
  );
  const down = { 'layby-host': 'api.example' };
  for (const [number, name] of [
    'authorization',
    'cookie',
    'x-api-key',
    'x-auth-token',
    'api-key',
  ].entries()) {
    const path = `/${number}`;
    await at.call('PUT', path, Buffer.from('mine'), { ...down, [name]: 'a' });
    const read = (headers: Record<string, string>) =>
      at.call('GET', path, undefined, { ...down, ...headers });
    for (const headers of [{}, { [name]: 'b' }, { [`x-${name}`]: 'a' }] as Record<string, string>[])
      t.match(await read(headers), { status: 503, text: /no-link/ }, `${name}: ${JSON.stringify(headers)}`);
    t.match(await read({ [name]: 'a' }), { status: 200, text: 'mine' }, name);
    await at.call('DELETE', path, undefined, { ...down, [name]: 'a' });
    t.match(await read({}), { status: 503 }, 'nor that it was deleted');
    t.match(await read({ [name]: 'a' }), { status: 404 });
  }
});

t.test('nor does an app of S3, not even that it is there', async (t) => {
  t.teardown(() => at.stop());
  // The apps sign, not the sidecar.
  const at = await scene(
    testdir(t),
    [
      destinationOf('s3', {
        ...{ methods: ['PUT', 'POST', 'DELETE'], receipt: 's3', order: 'key', listings: 'pending' },
      }),
    ],
    { remembered: null },
  );
  const as = (key: string) => ({ headers: { authorization: signed(key, String(Math.random())) } });
  await at.ask('PUT', '/b/mine', { body: Buffer.from('mine'), ...as('AKID') });
  await at.ask('PUT', '/b/theirs', { body: Buffer.from('theirs'), ...as('OTHER') });
  t.match(await at.ask('GET', '/b/mine', as('AKID')), { status: 200, text: 'mine' });
  for (const method of ['GET', 'HEAD'])
    t.match(await at.ask(method, '/b/theirs', as('AKID')), { status: 503 }, method);
  const { text } = await at.ask('GET', '/b?list-type=2', as('AKID'));
  t.match(text, /<Key>mine<\/Key>/);
  t.notMatch(text, /theirs/);
  t.match(text, /<KeyCount>1</);
});
