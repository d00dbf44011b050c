// Law 4, and no desync: what hostile and broken apps send (hostile-cases.ts) is refused in clear words, or arrives as what it
// is. With a link and without; at the sidecar, and at the sockets behind it. The destination records every byte.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startLayby } from '../rig/layby.ts';
import { connectTo, exchange, type Message, startRecorder, valuesOf } from '../rig/raw-http.ts';
import { testdir } from '../rig/testdir.ts';
import { CASES, type Case, type Kept } from './hostile-cases.ts';

t.setTimeout(120_000);

const recorder = await startRecorder();
t.teardown(() => recorder.close());
const destination = (name: string, host = `${name}.example`, mode = 'failover') =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Destination',
    metadata: { name },
    spec: {
      hosts: [host],
      upstream: { url: `http://127.0.0.1:${recorder.port}` },
      store: { order: 'none', mode },
      replay: { retry: { max: '1s' } },
    },
  });
// A short path, so that the sockets are in it.
const data = join(testdir(t), 'd');
const layby = await startLayby({
  data,
  policy: [
    destination('api'),
    destination('wild', '*.wild.example'),
    destination('never', undefined, 'never'),
  ].join('\n---\n'),
});
t.teardown(() => layby.kill9('all'));

interface Stored {
  id: string;
  destination: string;
  method: string;
  url: string;
  bytes: number;
}
const stored = async (): Promise<Stored[]> =>
  (await (await fetch(`http://${layby.admin}/v1/queue`)).json()) as Stored[];

const follow = (mark: string) =>
  `PUT /next-${mark} HTTP/1.1\r\nHost: api.example\r\nContent-Length: 2\r\n\r\nok`;

const wantedPath = (kept: Kept, mark: string) => (kept.path ?? '/MARK').replaceAll('MARK', mark);

const asSent = (t: Test, request: Message, { method = 'POST', body = '', ...kept }: Kept, path: string) => {
  t.equal(request.start, `${method} ${path} HTTP/1.1`);
  t.equal(request.body, body);
  t.same(valuesOf(request.headers, 'host'), [`127.0.0.1:${recorder.port}`]);
  const lines = request.headers.flatMap((name, at) =>
    at % 2 === 0 ? [`${name}: ${request.headers[at + 1]}`] : [],
  );
  for (const line of kept.has ?? []) t.ok(lines.includes(line), line);
  for (const line of lines) t.notMatch(line, kept.lacks ?? /^layby-(?!host: )/);
  t.same(request.trailers, kept.trailers ?? []);
};

/** Resolves with the request that arrived for this mark; all that did is in the recorder. */
const arrived = (path: string) => recorder.until(({ start }) => start.split(' ')[1] === path);

const nothingElse = (t: Test, mark: string, paths: string[]) => {
  const seen = recorder.requests
    .map(({ start }) => start.split(' ')[1]!)
    .filter((path) => path.includes(mark));
  t.same(seen.sort(), paths.sort(), 'nothing else arrived');
};

// What takes its time runs beside all the rest.

const slow = (() => {
  const began = performance.now();
  const head = connectTo(layby.outbound);
  head.write('POST /slow-head HTTP/1.1\r\nHost: api.example\r\n');
  const drip = setInterval(() => head.write('X-A: 1\r\n'), 1000);
  let answer = '';
  head.on('data', (piece) => {
    answer += piece;
  });
  head.on('error', () => {});
  const ended = new Promise((resolve) => head.once('close', resolve)).then(() => {
    clearInterval(drip);
    return { answer, ms: performance.now() - began };
  });
  const body = connectTo(layby.outbound);
  body.write('PUT /slow-body HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n');
  let sent = 0;
  const trickle = setInterval(() => {
    body.write('1\r\nx\r\n');
    sent += 1;
  }, 500);
  return {
    ended,
    finish: async () => {
      clearInterval(trickle);
      body.write('0\r\n\r\n');
      const [piece] = (await once(body, 'data')) as [Buffer];
      body.destroy();
      return { answer: piece.toString(), sent };
    },
  };
})();

const online = async (t: Test, { bytes, answer, kept, closes = false }: Case, mark: string) => {
  const path = kept && wantedPath(kept, mark);
  const sent = bytes(mark) + follow(mark);
  const { answers, closed, late } = await exchange(layby.outbound, sent, { answers: closes ? 1 : 2 });
  t.notOk(late, 'answered in time');
  t.same(
    answers.map(({ status }) => status),
    closes ? [answer] : [answer, 200],
  );
  t.equal(closed, closes, 'closed');
  if (path) {
    t.equal(answers[0]?.body, `${kept.method ?? 'POST'} ${path}`);
    asSent(t, await arrived(path), kept, path);
  }
  if (!closes) t.equal(answers[1]?.body, `PUT /next-${mark}`, 'the next request is answered as itself');
  nothingElse(t, mark, [...(path ? [path] : []), ...(closes ? [] : [`/next-${mark}`])]);
};

t.test('with a link', async (t) => {
  for (const [at, one] of CASES.entries()) await t.test(one.name, (t) => online(t, one, `o${at}o`));
  t.same(
    (await stored()).map(({ url }) => url),
    [],
    'nothing was stored',
  );
  t.same(recorder.desyncs, []);
});

t.test('without a link', async (t) => {
  await layby.link('down');
  t.teardown(() => layby.link('auto'));
  const receipts = new Map<string, { path: string; kept: Kept }>();
  for (const [at, one] of CASES.entries())
    await t.test(one.name, async (t) => {
      const { bytes, kept, closes = false } = one;
      const mark = `h${at}h`;
      const held = one.held ?? (kept ? 307 : one.answer);
      const path = kept && wantedPath(kept, mark);
      const { answers, closed, late } = await exchange(layby.outbound, bytes(mark) + follow(mark), {
        answers: closes ? 1 : 2,
      });
      t.notOk(late, 'answered in time');
      t.same(
        answers.map(({ status }) => status),
        closes ? [held] : [held, 307],
      );
      t.equal(closed, closes, 'closed');
      const ids = answers.flatMap(({ headers }) => valuesOf(headers, 'layby-entry'));
      for (const { headers, status } of answers) {
        const locations =
          status === 307
            ? [
                `/.well-known/layby/entries/${ids[answers.findIndex((a) => a.headers === headers) - (held === 307 ? 0 : 1)]}`,
              ]
            : [];
        t.same(valuesOf(headers, 'location'), locations, 'an app names no Location');
      }
      const mine = [
        ...(path && held === 307 ? [{ path, kept }] : []),
        ...(closes ? [] : [{ path: `/next-${mark}`, kept: { method: 'PUT', body: 'ok' } }]),
      ];
      t.equal(ids.length, mine.length, 'a receipt for each that is kept');
      for (const [n, id] of ids.entries()) receipts.set(id, mine[n]!);
    });
  const entries = await stored();
  t.same(entries.map(({ id }) => id).sort(), [...receipts.keys()].sort(), 'what is stored has a receipt');
  for (const { id, method, url, bytes } of entries) {
    const { path, kept } = receipts.get(id)!;
    t.equal(method, kept.method ?? 'POST', url);
    t.match(url, /^http:\/\/[a-z0-9.:-]+\//i);
    t.equal(url.replace(/^http:\/\/[^/]*/, ''), path);
    t.equal(bytes, kept.body?.length ?? 0, url);
  }
  const before = recorder.requests.length;
  await layby.link('auto');
  await layby.untilQueue((lines) => lines.length === 0);
  t.equal(recorder.requests.length - before, receipts.size, 'each was sent once');
  for (const { path, kept } of receipts.values()) asSent(t, await arrived(path), kept, path);
  t.same(recorder.desyncs, []);
});

t.test('requests that are sent at once are answered in their order, each as itself', async (t) => {
  const paths = Array.from({ length: 50 }, (_, i) => `/pipelined-${i}`);
  const bytes = paths.map((path, i) =>
    i % 2
      ? `PUT ${path} HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`
      : `GET ${path} HTTP/1.1\r\nHost: api.example\r\n\r\n`,
  );
  const { answers } = await exchange(layby.outbound, bytes.join(''), { answers: paths.length });
  t.same(
    answers.map(({ body }) => body.split(' ')[1]),
    paths,
  );
});

t.test(
  'a body that breaks in the middle is torn at the destination, never whole, and not stored',
  async (t) => {
    const before = recorder.requests.length;
    const head =
      'POST /broken HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n';
    const torn = () => recorder.torn.filter((text) => text.startsWith('POST /broken'));
    const { answers } = await exchange(layby.outbound, [head, 'zz\r\nhello\r\n0\r\n\r\n'], { answers: 1 });
    t.equal(answers[0]?.status, 400);
    await exchange(layby.outbound, head, { answers: 1, patience: 300 });
    const whole = await exchange(layby.outbound, follow('broken'), { answers: 1 });
    t.equal(whole.answers[0]?.status, 200);
    t.equal(recorder.requests.length, before + 1);
    t.ok(torn().every((text) => !text.endsWith('0\r\n\r\n')));
    t.same(await stored(), []);
  },
);

t.test('the largest head that the sidecar takes is stored and delivered', async (t) => {
  const put = (mark: string, headers: string[]) =>
    [`PUT /${mark} HTTP/1.1`, 'Host: api.example', 'Content-Length: 0', ...headers, '', ''].join('\r\n');
  const most = async (what: string, from: number, step: number, headers: (size: number) => string[]) => {
    for (let size = from; size > 0; size -= step) {
      const { answers } = await exchange(layby.outbound, put(`${what}-${size}`, headers(size)), {
        answers: 1,
      });
      if (answers[0]?.status !== 431) return { size, status: answers[0]?.status };
    }
    return { size: 0, status: 0 };
  };
  const fieldsOf = (size: number) => Array.from({ length: size }, (_, i) => `x-${i}: 1`);
  const longOf = (size: number) => [`x-a: ${'a'.repeat(size)}`];
  for (const link of ['auto', 'down'] as const) {
    await layby.link(link);
    const fields = await most(`fields-${link}`, 100, 1, fieldsOf);
    const bytes = await most(`bytes-${link}`, 61_440, 16, longOf);
    const expected = link === 'auto' ? 200 : 307;
    t.same([fields.status, bytes.status], [expected, expected], `${fields.size} fields, ${bytes.size} bytes`);
    t.ok(fields.size > 90 && bytes.size > 60_000, `${fields.size} fields, ${bytes.size} bytes`);
    if (link === 'auto') continue;
    await layby.link('auto');
    const request = await arrived(`/fields-down-${fields.size}`);
    t.equal(request.headers.filter((name) => /^x-\d+$/.test(name)).length, fields.size);
    t.equal(valuesOf((await arrived(`/bytes-down-${bytes.size}`)).headers, 'x-a')[0]?.length, bytes.size);
    await layby.untilQueue((lines) => lines.length === 0);
  }
});

/** The status of a POST over HTTP/2; 0 where the connection was ended instead. */
const overHttp2 = async (headers: Record<string, string>, body: string): Promise<number> => {
  const client = connectHttp2(`http://${layby.outbound}`);
  client.on('error', () => {});
  const stream = client.request({
    ...{ ':method': 'POST', ':scheme': 'http', ':authority': 'api.example', ':path': '/h2', ...headers },
  });
  stream.on('error', () => {});
  let status = 0;
  stream.on('response', (answer) => {
    status = Number(answer[constants.HTTP2_HEADER_STATUS]);
  });
  stream.resume().end(body);
  await new Promise((resolve) => stream.once('close', resolve));
  client.destroy();
  return status;
};

t.test('over HTTP/2 the same is refused', async (t) => {
  const call = overHttp2;
  const before = recorder.requests.length;
  for (const [expected, headers] of [
    [0, { ':authority': 'u@x.wild.example' }],
    [400, { ':authority': 'a..wild.example' }],
    [421, { ':authority': 'evil.example' }],
    [404, { ':path': '/.well-known/layby/../x' }],
    [0, { 'content-length': '1152921504606846976' }],
  ] as [number, Record<string, string>][])
    t.equal(await call(headers, 'hello'), expected, JSON.stringify(headers));
  t.not(await call({ 'content-length': '3' }, 'hello'), 200, 'a length that is not that of the body');
  t.equal(recorder.requests.length, before, 'nothing arrived');
  t.equal(await call({ ':path': '/h2-good', 'layby-host': 'evil.example' }, 'hello'), 200);
  const good = await arrived('/h2-good');
  t.equal(good.body, 'hello');
  t.notMatch(good.headers.join(), /evil/);
  t.same(recorder.desyncs, []);
});

const QUEUE = join(data, 'run', 'queue.sock');
const EGRESS = join(data, 'run', 'egress.sock');

t.test("at the queue's own socket", async (t) => {
  const at = (lines: string[], body = 'hello', answers = 1) =>
    exchange(QUEUE, [...lines, `Content-Length: ${body.length}`, '', body].join('\r\n'), { answers });
  await layby.link('down');
  for (const [name, status, lines] of [
    [
      'a layby-host that no destination has is refused',
      421,
      ['POST /q HTTP/1.1', 'Host: api.example', 'layby-host: evil.example'],
    ],
    [
      'two layby-hosts are refused',
      421,
      ['POST /q HTTP/1.1', 'Host: a', 'layby-host: api.example', 'layby-host: never.example'],
    ],
    ['an absolute form is refused', 400, ['POST http://evil.example/q HTTP/1.1', 'Host: api.example']],
    ['an asterisk is refused', 400, ['OPTIONS * HTTP/1.1', 'Host: api.example']],
    [
      'a length beside a transfer coding is refused',
      400,
      ['POST /q HTTP/1.1', 'Host: api.example', 'Transfer-Encoding: chunked'],
    ],
    [
      'a body for a page that is none is refused',
      404,
      ['PUT /.well-known/layby/x HTTP/1.1', 'Host: api.example'],
    ],
    [
      'what a destination does not store is refused',
      503,
      ['POST /q HTTP/1.1', 'Host: api.example', 'layby-host: never.example'],
    ],
  ] as [string, number, string[]][])
    await t.test(name, async (t) => {
      t.equal((await at(lines)).answers[0]?.status, status);
      t.same(await stored(), []);
    });

  await t.test('a layby-host of a destination is stored for it, and sent nowhere else', async (t) => {
    const { answers } = await at([
      'POST /forged HTTP/1.1',
      'Host: evil.example',
      'layby-host: x.wild.example',
      'layby-destination: api',
    ]);
    t.equal(answers[0]?.status, 307);
    const [entry] = await stored();
    t.equal(entry?.destination, 'wild');
    t.equal(entry?.url, 'http://x.wild.example/forged');
  });

  await t.test('no header is left away without a word, however many', async (t) => {
    const many = Array.from({ length: 4000 }, (_, i) => `x-${i}: 1`);
    const { answers } = await at(['PUT /many HTTP/1.1', 'Host: api.example', ...many]);
    t.equal(answers[0]?.status, 307);
  });

  await t.test('two requests with one id are both answered, and one is stored', async (t) => {
    const id = randomUUID();
    const head = [
      'PUT /twice HTTP/1.1',
      'Host: api.example',
      `layby-request: ${id}`,
      'Content-Length: 6',
      '',
      'fir',
    ];
    const first = connectTo(QUEUE);
    t.teardown(() => first.destroy());
    await new Promise<void>((resolve) => first.write(head.join('\r\n'), () => resolve()));
    const second = await exchange(QUEUE, `${head.join('\r\n')}st!`, { answers: 1 });
    first.write('st!');
    const [answer] = (await once(first, 'data')) as [Buffer];
    t.match(answer.toString(), /^HTTP\/1\.1 307 /);
    t.equal(second.answers[0]?.status, 307);
    t.equal((await stored()).filter((entry) => entry.id === id).length, 1);
  });
  await layby.link('auto');
  // The one with 4,000 headers is no request of a sidecar: what the way out refuses becomes a dead letter.
  await layby.untilQueue((lines) => lines.every(({ state }) => state === 'dead'));
});

t.test('at the egress socket, what names no destination goes nowhere', async (t) => {
  const before = recorder.requests.length;
  for (const lines of [
    [],
    ['layby-destination: nobody'],
    ['layby-destination: API'],
    ['layby-destination: api, never'],
    ['layby-destination: api/direct'],
    ['layby_destination: api'],
  ]) {
    const head = ['GET http://evil.example/ HTTP/1.1', 'Host: evil.example', ...lines, '', ''].join('\r\n');
    const { answers } = await exchange(EGRESS, head, { answers: 1 });
    t.equal(answers[0]?.status, 421, lines.join());
  }
  t.equal(recorder.requests.length, before);
});

t.test('a head that does not end is answered 408 in seconds; a body may take its time', async (t) => {
  const { answer, ms } = await slow.ended;
  t.match(answer, /^HTTP\/1\.1 408 /);
  t.ok(ms > 10_000 && ms < 25_000, `${Math.round(ms)} ms`);
  const { answer: last, sent } = await slow.finish();
  t.match(last, /^HTTP\/1\.1 200 /);
  t.equal((await arrived('/slow-body')).body, 'x'.repeat(sent));
  t.ok(sent > 10, `${sent} bytes`);
});

t.test('all parts live, and nothing was sent that no app had sent', async (t) => {
  t.same(recorder.desyncs, []);
  t.equal(layby.log().filter(({ msg }) => msg === 'part ended').length, 0);
  for (const part of ['control-plane', 'queue', 'envoy'] as const) t.ok(layby.pidOf(part) > 0, part);
  t.notOk(recorder.requests.some(({ start }) => /slow-head|\/q |evil\.example\/q/.test(start)));
});
