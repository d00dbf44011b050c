// The page of an entry, as clients meet it that follow a 307 and send their body again.

import { createHash, randomUUID } from 'node:crypto';
import t from 'tap';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

const PAGES = '/.well-known/layby/entries/';
const BODY = Buffer.alloc(300_000, 'x');

t.test(
  'a body for an entry that never was is refused, and one for an entry that was is not stored again',
  async (t) => {
    t.teardown(() => at.stop());
    const at = await scene(testdir(t), [destinationOf('api'), destinationOf('other')]);
    const id = String((await at.put('/a', BODY)).headers['layby-entry']);
    const again = (path: string, method = 'PUT', headers = {}) =>
      at.call(method, PAGES + path, BODY, headers);
    for (const method of ['PUT', 'POST', 'PATCH', 'DELETE']) {
      for (const unknown of [randomUUID(), '01890a5d-ac96-774b-bcce-b302099a8057'])
        t.match(await again(unknown, method), { status: 404, text: /entry-unknown/ }, `${method} ${unknown}`);
      t.match(
        await again(id, method),
        { status: 200, text: '', headers: { etag: `"${createHash('sha256').update(BODY).digest('hex')}"` } },
        method,
      );
    }
    t.match(await again(id.toUpperCase()), { status: 200 });
    t.match(
      await again(id, 'PUT', { host: 'other.example' }),
      { status: 404 },
      'on the host of another destination',
    );
    t.equal(
      (JSON.parse((await at.admin('/v1/queue')).text) as unknown[]).length,
      1,
      'nothing of it was stored',
    );

    at.link.up = true;
    await at.until(() => at.arrived.has('/a'));
    while ((await at.admin('/v1/queue')).text.trim() !== '[]');
    t.match(
      await again(id),
      { status: 200, text: '' },
      'also after it has been delivered: its receipt was kept',
    );
    t.match(await again(id, 'PUT', { host: 'other.example' }), { status: 404 });
  },
);
