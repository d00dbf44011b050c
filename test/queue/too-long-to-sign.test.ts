// Services other than S3 want a signature over the whole body, which the sidecar holds for it: a body has a longest length there, and
// what is longer is refused, by its name, before it is stored.

import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { SIGNED_BODY_BYTES } from '../../src/policy/signature.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

const api = (mode: Destination['store']['mode'], service = 'execute-api'): Destination => ({
  ...destinationOf('api', { mode, receipt: 'accepted' }),
  upstream: { url: 'https://api.example', sign: { aws: { service, region: 'eu-west-1' } } },
});

const LONGEST = Buffer.alloc(SIGNED_BODY_BYTES);
const TOO_LONG = Buffer.alloc(SIGNED_BODY_BYTES + 1);

/** The status of the answer to a body of unknown length, whose end never comes. */
const statusOfEndless = async (socket: string, body: Buffer): Promise<number> => {
  const client = connect(socket);
  client.write('POST /a HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n');
  client.write(`${body.length.toString(16)}\r\n`);
  client.write(body);
  const [answer] = (await once(client, 'data')) as [Buffer];
  client.destroy();
  return Number(/^HTTP\/1.1 (\d+)/.exec(answer.toString())?.[1]);
};

for (const mode of ['always', 'failover', 'never'] as const)
  t.test(`mode ${mode}: a body that is too long is refused, and nothing of it is kept`, async (t) => {
    const made = await scene(testdir(t), [api(mode)]);
    t.teardown(() => made.stop());
    made.link.up = mode !== 'always';
    const answer = await made.ask('POST', '/a', { body: TOO_LONG });
    t.equal(answer.status, 413);
    const { type, detail } = JSON.parse(answer.text);
    t.equal(type, 'https://layby.dev/problems/too-long-to-sign');
    t.match(detail, /spec\.upstream\.sign\.aws\.service of api/);
    t.match(detail, /16777216 bytes/);
    if (mode !== 'never') t.equal(await statusOfEndless(made.socket, TOO_LONG), 413);
    t.same(JSON.parse((await made.admin('/v1/queue')).text), []);
    t.same(made.sent, []);
    t.match(await made.ask('POST', '/a', { body: LONGEST }), { status: mode === 'always' ? 202 : 200 });
  });

t.test('what was stored before its destination was signed for is a dead letter that says so', async (t) => {
  const unsigned = { ...api('always'), upstream: { url: 'https://api.example' } };
  const made = await scene(testdir(t), [unsigned]);
  t.teardown(() => made.stop());
  t.match(await made.ask('POST', '/a', { body: TOO_LONG }), { status: 202 });
  await made.restart([api('always')]);
  made.link.up = true;
  let line: { id: string; state: string } | undefined;
  while (line?.state !== 'dead') [line] = JSON.parse((await made.admin('/v1/queue')).text);
  const { text } = await made.admin(`/v1/queue/audit?id=${line.id}`);
  t.match(text, /413.*spec\.upstream\.sign\.aws\.service of api/);
  t.same(made.sent, [], 'not a byte of it has left');
});

t.test('to S3 a body may be longer', async (t) => {
  const made = await scene(testdir(t), [api('always', 's3')]);
  t.teardown(() => made.stop());
  t.match(await made.ask('PUT', '/b/k', { body: TOO_LONG }), { status: 202 });
});
