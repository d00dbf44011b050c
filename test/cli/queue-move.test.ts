// What an operator does about entries that cannot go as they are: a waiting entry is edited, and entries of a destination that was
// renamed or removed are moved to another one.

import { randomBytes } from 'node:crypto';
import t from 'tap';
import { destinationOf } from '../queue/scene.ts';
import { makeScene } from './queue-scene.ts';

t.setTimeout(120_000); // a slow machine is no failure

const named = (name: string, hosts: string[], store = {}) => ({
  ...destinationOf(name, { order: 'key', ...store }),
  hosts,
});
const telemetry = destinationOf('telemetry', { order: 'key' });

t.test('an entry that waits is edited at its place, and its next attempt goes like this', async (t) => {
  const use = await makeScene(t);
  const id = await use.store('/a?sig=old', 'one', 'dashcam', { authorization: 'old' });
  await use.store('/b', 'two');
  await use.store('/b', 'three');
  const edited = await use.run(
    'edit',
    id,
    '--url',
    'http://dashcam.example/b',
    '--header',
    'Authorization: new',
  );
  t.match(edited, { code: 0, stdout: /it waits, and its next attempt goes like this/ });
  use.link.up = true;
  await use.until(() => use.sent.length === 3);
  t.same(
    use.sent.map(({ path, body }) => `${path} ${body}`),
    ['/b one', '/b two', '/b three'],
    'first of its new order key, by its receipt',
  );
  t.equal(use.sent[0]!.headers.authorization, 'new');
});

t.test(
  'an entry that is being sent is neither edited nor moved, and the answer says what to do',
  async (t) => {
    const use = await makeScene(t);
    const [begun, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    use.link.answer = () => {
      begun.resolve();
      return end.promise;
    };
    use.link.up = true;
    const id = await use.store('/a', 'one');
    await begun.promise;
    t.match(await use.run('edit', id, '--header', 'X-A: b'), {
      code: 1,
      said: [/is sending, and cannot be edited now: .*`layby link down dashcam`/],
    });
    t.match(await use.run('move', id, '--to', 'telemetry', '--yes'), {
      code: 0,
      stdout: /would move 0 entries, 0 bytes; 1 entry not, by state/,
    });
    end.resolve();
    while (Object.keys(await use.states()).length > 0);
  },
);

t.test(
  'entries of a destination that was renamed are moved, and arrive once each in their order',
  async (t) => {
    const use = await makeScene(t, [named('dashcam', ['cam.example']), telemetry]);
    const large = randomBytes(300_000);
    const put = (path: string, body: Buffer | string) =>
      use.call('PUT', path, Buffer.from(body), { host: 'cam.example' });
    const first = String((await put('/a', 'one')).headers['layby-entry']);
    await put('/a', large);
    await put('/b', 'three');
    await use.restart([named('camera', ['cam.example']), telemetry]);
    await put('/a', 'four');
    t.match(
      (await use.program('why', first)).stdout,
      /names no destination dashcam.*\n.*layby queue move --from dashcam --to camera/,
    );

    t.match(await use.run('move', '--from', 'dashcam', '--to', 'nowhere'), {
      code: 1,
      said: [/the policy names no destination nowhere: the destinations are: camera, telemetry/],
    });
    const elsewhere = await use.run('move', '--from', 'dashcam', '--to', 'telemetry', '--yes');
    t.match(
      elsewhere.stdout,
      /would move 0 entries, 0 bytes; 3 entries not: the policy gives cam\.example to another/,
    );
    t.match(await use.run('move', '--from', 'dashcam', '--to', 'camera'), {
      code: 1,
      stdout: new RegExp(`^would move 3 entries, 300008 bytes\n  ${first} dashcam stored`),
      said: [/say --yes to move them/],
    });
    const moved = await use.run(
      'move',
      '--from',
      'dashcam',
      '--to',
      'camera',
      '--yes',
      '--reason',
      'renamed',
    );
    t.match(moved, { code: 0, stdout: /moved 3 entries\n$/ });
    t.ok((await use.trail(first)).includes('moved by alice: renamed: dashcam → camera'));
    use.link.up = true;
    await use.until(() => use.sent.length >= 4);
    while (Object.keys(await use.states()).length > 0);
    t.same(
      use.sent.filter(({ path }) => path === '/a').map(({ body }) => body.length),
      [3, 300_000, 4],
    );
    t.equal(use.sent.length, 4);
  },
);

t.test('moved entries get the order of their new destination, and its spelling of S3 URLs', async (t) => {
  const use = await makeScene(t, [named('dashcam', ['cam.example', 'clips.s3.example'], { order: 'none' })]);
  const put = async (host: string, path: string): Promise<string> =>
    String((await use.call('PUT', path, Buffer.from('x'), { host })).headers['layby-entry']);
  const [one, two] = [await put('cam.example', '/a?x'), await put('clips.s3.example', '/k')];
  await use.restart([
    named('camera', ['cam.example'], { order: 'strict' }),
    named('bucket', ['*.s3.example'], { receipt: 's3' }),
  ]);
  t.match(await use.run('move', one, '--to', 'camera', '--yes'), { code: 0 });
  t.match(await use.run('move', two, '--to', 'bucket', '--yes'), { code: 0 });
  const entry = async (id: string) => JSON.parse((await use.admin(`/v1/queue/entries/${id}`)).text);
  t.match(await entry(one), { destination: 'camera', orderKey: '*', url: 'http://cam.example/a?x' });
  t.match(await entry(two), {
    destination: 'bucket',
    url: 'http://s3.example/clips/k',
    orderKey: 's3.example/clips/k',
  });
});

t.test(
  'an upload that its app has not completed moves as a whole, and is completed afterwards',
  async (t) => {
    const use = await makeScene(t, [named('dashcam', ['cam.example'], { receipt: 's3' })]);
    const s3 = (method: string, path: string, body = '') =>
      use.call(method, path, Buffer.from(body), { host: 'cam.example', 'x-amz-date': 'x' });
    const created = await s3('POST', '/clips/a?uploads');
    const upload = /<UploadId>([^<]*)/.exec(created.text)?.[1];
    const { etag } = (await s3('PUT', `/clips/a?partNumber=1&uploadId=${upload}`, 'part one')).headers;
    await use.restart([named('camera', ['cam.example'], { receipt: 's3' })]);
    const complete = () =>
      s3(
        'POST',
        `/clips/a?uploadId=${upload}`,
        `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`,
      );
    t.equal((await complete()).status, 404);
    const part = Object.keys(await use.states()).at(-1)!;
    t.match(await use.run('move', part, '--to', 'camera', '--yes'), { code: 0, stdout: /moved 1 entry/ });
    t.equal((await complete()).status, 200);
    use.link.up = true;
    await use.until(() => use.sent.length === 1);
    t.match(use.sent[0], { path: '/clips/a', body: Buffer.from('part one') });
  },
);

t.test(
  'a receipt leads to its page whichever destination serves its host, and where none does',
  async (t) => {
    const use = await makeScene(t, [named('dashcam', ['cam.example']), telemetry]);
    const page = (id: string, host: string, method = 'GET') =>
      use.call(method, `/.well-known/layby/entries/${id}`, undefined, { host });
    const answer = await use.call('PUT', '/a', Buffer.from('one'), { host: 'cam.example' });
    const id = String(answer.headers['layby-entry']);
    const check = async (name: string, expected: object): Promise<void> => {
      const { status, text } = await page(id, 'cam.example:80');
      t.equal(status, 200, name);
      t.match(JSON.parse(text), expected, name);
      t.equal((await page(id, 'telemetry.example')).status, 404, name);
      t.equal((await page(id, 'other.example')).status, 404, name);
    };
    await check('as it was', { destination: 'dashcam', state: /^(stored|sending)$/ });
    await use.restart([named('camera', ['cam.example']), telemetry]);
    await check('renamed', { destination: 'dashcam', state: /^(stored|sending)$/ });
    await use.restart([telemetry]);
    await check('removed', { destination: 'dashcam', state: /^(stored|sending)$/ });
    t.equal((await page(id, 'cam.example', 'POST')).status, 200);
    await use.restart([named('camera', ['cam.example']), telemetry]);
    await use.run('move', id, '--to', 'camera', '--yes');
    await check('moved', { destination: 'camera', state: /^(stored|sending)$/ });
    use.link.up = true;
    while (Object.keys(await use.states()).length > 0);
    await check('delivered', { destination: 'camera', state: 'delivered' });
    await use.restart([telemetry]);
    await check('removed', { destination: 'camera', state: 'delivered' });
  },
);
