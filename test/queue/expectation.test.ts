// Expect (RFC 9110 section 10.1.1): `100-continue` is honoured, and everything else is ignored, as S3 and most servers do.

import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

/** All that came back until the connection ended. */
const answerTo = async (socket: string, expect: string, waits: boolean): Promise<string> => {
  const head = [
    `PUT /${encodeURIComponent(expect)} HTTP/1.1`,
    'Host: api.example',
    `Expect:${expect}`,
    'Content-Length: 4',
    'Connection: close',
  ].join('\r\n');
  const client = connect(socket);
  let text = '';
  let said = false;
  client.setEncoding('latin1');
  client.on('data', (piece: string) => {
    text += piece;
    if (waits && text.startsWith('HTTP/1.1 100 ') && !said) said = client.write('body') || true;
  });
  client.write(`${head}\r\n\r\n`);
  if (!waits) client.write('body');
  await once(client, 'close');
  return text;
};

const IGNORED = ['', ' ', ' 200-ok', ' x=y; z', ' 100-continued', ' 101-continue'];

t.test('an expectation that is empty or unknown is ignored', async (t) => {
  const api = await scene(testdir(t), [destinationOf('api')]);
  t.teardown(() => api.stop());
  for (const expect of IGNORED) t.match(await answerTo(api.socket, expect, false), /^HTTP\/1.1 307 /, expect);
  api.link.up = true;
  await api.until(() => api.sent.length === IGNORED.length);
  for (const { headers, body } of api.sent) {
    t.notOk('expect' in headers, 'it ends at the queue');
    t.equal(body.toString(), 'body');
  }
});

t.test('who asks before the body is told to go on, whatever else is expected', async (t) => {
  const api = await scene(testdir(t), [destinationOf('api')]);
  t.teardown(() => api.stop());
  for (const expect of [' 100-continue', ' 100-CONTINUE', ' x, 100-continue'])
    t.match(
      await answerTo(api.socket, expect, true),
      /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 307 /,
      expect,
    );
});
