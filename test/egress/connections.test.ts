// Over which of the sidecar's connections a request goes: those with the same value share them.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mock } from 'node:test';
import t from 'tap';
import { Egress } from '../../src/egress/egress.ts';
import { newHead } from '../../src/store/conformance.ts';
import { CONNECTIONS_HEADER } from '../../src/wire/names.ts';
import { destination } from '../policy/destination.ts';

t.test(
  'a body that can be sent only once does not meet a connection that the server may have closed',
  async (t) => {
    const server = createServer((request, response) => {
      request.resume().on('end', () => response.end(request.headers[CONNECTIONS_HEADER] ?? ''));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const egress = new Egress({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
    t.teardown(async () => {
      mock.restoreAll();
      await egress.close();
      server.close();
    });
    let now = 1_000_000;
    mock.method(performance, 'now', () => now);
    const { signal } = new AbortController();
    const send = async (isOnce: boolean, impatient = true): Promise<string> => {
      const body = { pieces: (async function* () {})(), bytes: 0 };
      const options = { signal, impatient, ...(isOnce && { once: true }) };
      const answer = await egress.send(destination({ name: 'api' }), newHead({}), body, options);
      let text = '';
      for await (const piece of answer.body) text += piece;
      return text;
    };
    t.equal(await send(false), '', 'what can be sent again takes what is there');
    t.equal(await send(true), '', 'one that was used a moment ago is open');
    now += 60_000;
    t.equal(await send(true), '-1', 'a new one');
    now += 1_000;
    t.equal(await send(true), '-1', 'which the next one shares');
    t.equal(await send(false), '-1');
    now += 60_000;
    t.equal(await send(false), '-1');
    t.equal(await send(true), '-1');
    t.equal(await send(true, false), '-1', 'other connections, of which none was used');
    t.equal(await send(true, false), '-1');
  },
);
