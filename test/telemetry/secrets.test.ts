// Credentials in URLs, taken out of text that is shown.

import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { logger } from '../../src/telemetry/log.ts';
import { withoutSecrets } from '../../src/telemetry/secrets.ts';
import { testdir } from '../rig/testdir.ts';

t.test('of a URL the values of parameters that bear credentials are hidden, and nothing else', async (t) => {
  const at = 'http://api.example/a';
  for (const name of [
    ...[
      'token',
      'access_token',
      'id_token',
      'refresh_token',
      'X-Amz-Security-Token',
      'X-Amz-Signature',
      'sig',
      'Signature',
    ],
    ...[
      'X-Amz-Credential',
      'AWSAccessKeyId',
      'api_key',
      'api-key',
      'apikey',
      'key',
      'auth',
      'password',
      'passwd',
      'pwd',
    ],
    ...['client_secret', 'X-Goog-Signature', 'sessionid', 'PHPSESSID', 'jwt', 'code', 'to%6ben'],
  ]) {
    t.equal(withoutSecrets(`${at}?${name}=hush`), `${at}?${name}=(hidden)`, name);
    t.equal(withoutSecrets(`${at}?a=1&${name}=hu%2Fsh;x&b=2#c`), `${at}?a=1&${name}=(hidden)&b=2#c`, name);
  }
  for (const same of [
    ...[
      `${at}?a=1&b=2`,
      `${at}?partNumber=1&uploadId=x`,
      `${at}?prefix=a/b`,
      `${at}?tokens`,
      `${at}?token=`,
      `${at}?%zz=1`,
    ],
    ...[
      `${at}?x-id=PutObject`,
      'a=1; b=2',
      'it was tried again',
      '//a/b',
      '?',
      '&&==',
      'mail@example.com',
      'keys=1',
    ],
  ])
    t.equal(withoutSecrets(same), same, same);
});

t.test('so are user and password, and a URL within a URL', async (t) => {
  t.equal(withoutSecrets('http://me:hush@a.example/b@c'), 'http://(hidden)@a.example/b@c');
  t.equal(withoutSecrets('see https://hu@sh@a.example/ there'), 'see https://(hidden)@a.example/ there');
  t.equal(
    withoutSecrets('http://a.example/?next=http%3A%2F%2Fb.example%2F%3Ftoken%3Dhush%26a%3D1&c=2'),
    'http://a.example/?next=http%3A%2F%2Fb.example%2F%3Ftoken%3D(hidden)%26a%3D1&c=2',
  );
  const line = JSON.stringify({ said: 'GET "http://a.example/?sig=hush" refused', n: 1 });
  t.equal(JSON.parse(withoutSecrets(line)).said, 'GET "http://a.example/?sig=(hidden)" refused');
});

t.test('text of whatever size takes a time in proportion', async (t) => {
  for (const piece of ['&', '?a', '%26', '&a=', '://', '://a@', '%3F%3D', '&token=%26'])
    t.ok(withoutSecrets(piece.repeat(200_000)), piece);
});

t.test('the log has none of them, also where an error names them', async (t) => {
  const dir = testdir(t);
  mkdirSync(dir, { recursive: true });
  const file = join(dir, 'log');
  const log = logger('test', openSync(file, 'a'));
  log.info({ url: 'http://a.example/?token=hush' }, 'asked');
  // The last line is written before it returns.
  log.fatal({ err: new Error('no answer of http://me:hush@a.example/?sig=hush&a=1') }, 'ended');
  const text = readFileSync(file, 'utf8');
  t.notMatch(text, /hush/);
  t.match(text, /token=\(hidden\)"/);
  t.match(text, /sig=\(hidden\)&a=1/);
});
