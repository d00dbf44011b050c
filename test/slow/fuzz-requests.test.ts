// Requests that no case of test/laws/hostile-cases.ts foresaw: right ones, twisted as bytes by a seed, on raw connections to a
// real sidecar, with a link and without. Whatever is answered, what is stored is what has a receipt, what arrives is what an
// app sent, and the next request of a connection is answered as itself.
//
// LAYBY_SEED repeats one seed, LAYBY_REQUESTS says how many requests it sends.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { HOST_HEADER, OWN_HEADERS } from '../../src/wire/names.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { between, oneOf, type Random, randomFrom } from '../rig/random.ts';
import {
  Desync,
  type Exchange,
  exchange,
  type Message,
  type Recorder,
  startRecorder,
  valuesOf,
} from '../rig/raw-http.ts';
import { testdir } from '../rig/testdir.ts';

const SEEDS = process.env.LAYBY_SEED ? [Number(process.env.LAYBY_SEED)] : [1, 2, 3];
const REQUESTS = Number(process.env.LAYBY_REQUESTS ?? 2000);
const AT_ONCE = 8;
/** A twisted request may be one that waits for its end. */
const PATIENCE_MS = 400;

t.setTimeout(600_000);

const HEADERS = [
  ...[
    'Content-Length: 5',
    'Content-Length: 0',
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: gzip',
    'Connection: close',
  ],
  ...[
    'Connection: content-length',
    'Connection: keep-alive, layby-host',
    'Expect: 100-continue',
    'TE: trailers',
    'Trailer: x',
  ],
  ...[
    'Upgrade: h2c',
    'Host: never.example',
    'Layby-Host: evil.example',
    'Layby-Request: x',
    'Layby-Destination: never',
  ],
  ...[
    'X-A: ',
    'X-A: \xff',
    ' folded',
    'X-Forwarded-Proto: https',
    'Location: /x',
    'Keep-Alive: 1',
    'Cookie: a=b',
  ],
];
const SNIPPETS = [
  ...[
    '\r\n',
    '\n',
    '\r',
    '\0',
    ' ',
    '\t',
    ':',
    ';',
    ',',
    '0',
    '-',
    '%',
    '\xff',
    '\x7f',
    '\x0b',
    '/',
    '//',
    '..',
    '#',
    '?',
    '\\',
  ],
  ...[
    '\r\n\r\n',
    '0\r\n\r\n',
    '\r\n0\r\n',
    'HTTP/1.0',
    'HTTP/1.1',
    'Content-Length: 3\r\n',
    'Transfer-Encoding: chunked\r\n',
  ],
  ...['http://evil.example/', '@', '[::1]', '.', '*', 'ffffffff', '\r\nX-T: 1\r\n'],
];
const PATHS = [
  '/MARK',
  '//MARK',
  '/../MARK',
  '/%2e%2e/MARK?x=/..',
  '/.well-known/layby/MARK',
  'http://api.example/MARK',
];
const HOSTS = [
  'api.example',
  'API.example.',
  'api.example:80',
  'x.wild.example',
  'never.example',
  'nobody.example',
];

/** Said in four places, so that a twist leaves some. */
const valid = (random: Random, mark: string): string => {
  const method = oneOf(random, ['PUT', 'POST', 'POST', 'DELETE', 'GET', 'PATCH']);
  const body = `${mark}:${'b'.repeat(between(random, [0, 40]))}`;
  const chunked = random() < 0.5;
  const headers = [
    `Host: ${random() < 0.6 ? 'api.example' : oneOf(random, HOSTS)}`,
    `X-Mark: ${mark}`,
    ...(random() < 0.4 ? [oneOf(random, HEADERS)] : []),
    chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`,
    `X-Mark-Too: ${mark}`,
  ];
  const trailer = random() < 0.3 ? 'X-Sum: 1\r\n' : '';
  const framed = chunked ? `${body.length.toString(16)}\r\n${body}\r\n0\r\n${trailer}\r\n` : body;
  return `${method} ${oneOf(random, PATHS).replace('MARK', mark)} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${framed}`;
};

const twist = (random: Random, text: string): string => {
  const at = between(random, [0, text.length]);
  const to = Math.min(text.length, at + between(random, [1, 6]));
  const lines = text.split('\r\n');
  const line = between(random, [1, Math.max(1, lines.length - 1)]);
  return oneOf(random, [
    () => text.slice(0, at) + oneOf(random, SNIPPETS) + text.slice(at),
    () => text.slice(0, at) + oneOf(random, SNIPPETS) + text.slice(at),
    () => text.slice(0, at) + text.slice(to),
    () => text.slice(0, at) + String.fromCharCode(between(random, [0, 255])) + text.slice(at + 1),
    () => lines.toSpliced(line, 0, oneOf(random, HEADERS)).join('\r\n'),
    () => lines.toSpliced(line, 0, lines[line] ?? '').join('\r\n'),
    () => lines.toSpliced(line, 1).join('\r\n'),
    () => text.slice(0, at),
  ])();
};

interface Sent {
  mark: string;
  bytes: string;
  exchange: Exchange;
}

const follow = (mark: string) =>
  `PUT /next-${mark} HTTP/1.1\r\nHost: api.example\r\nContent-Length: ${mark.length}\r\n\r\n${mark}`;

/** Every request of this run, each on its own connection with a right one behind it, some in pieces. */
const send = async (layby: Layby, random: Random, label: string, count: number): Promise<Sent[]> => {
  const sent: Sent[] = [];
  let next = 0;
  const app = async () => {
    while (next < count) {
      const mark = `${label}m${next++}m`;
      let bytes = valid(random, mark);
      for (let n = between(random, [0, 3]); n > 0; n -= 1) bytes = twist(random, bytes);
      bytes += follow(mark);
      const cut = between(random, [1, bytes.length - 1]);
      const pieces = random() < 0.3 ? [bytes.slice(0, cut), bytes.slice(cut)] : bytes;
      sent.push({
        mark,
        bytes,
        exchange: await exchange(layby.outbound, pieces, { answers: 2, patience: PATIENCE_MS }),
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, app));
  return sent;
};

/** Without a version, and in absolute form: of a GET Envoy reads no more than this line (docs/wire.md). */
const ENDS_WITH_ITS_LINE = /^(GET|HEAD) http:\/\/[^/ \r\n]+(\/[^ \r\n]*)? ?\r?\n/;

/** Whose it is: the mark that it has most often (a twist may make another one's of it), or the path, as its app wrote it. */
const ownerOf = (sent: readonly Sent[], request: Message): Sent | undefined => {
  const text = [request.start, ...request.headers, request.body].join('\n');
  const counts = new Map<string, number>();
  for (const mark of text.match(/s[a-h][oh]m\d+m/g) ?? []) counts.set(mark, (counts.get(mark) ?? 0) + 1);
  const [method, path] = request.start.split(' ') as [string, string];
  const [most] = sent
    .filter(({ mark }) => counts.has(mark))
    .sort((a, b) => counts.get(b.mark)! - counts.get(a.mark)!);
  const line = sent.find(({ bytes }) => {
    const [, ...said] = ENDS_WITH_ITS_LINE.exec(bytes) ?? [];
    return said[0] === method && (said[1] ?? '/') === path;
  });
  return (
    most ?? line ?? sent.find(({ bytes }) => [' ', '\r', '\n'].some((end) => bytes.includes(path + end)))
  );
};

/** What is wrong with what arrived: something that no app sent, or sent once and came twice. */
const arrivalFaults = (sent: Sent[], arrivals: readonly Message[]): string[] => {
  const seen = new Set<string>();
  return arrivals.flatMap((request) => {
    const from = ownerOf(sent, request);
    if (!from) return [`nobody sent ${JSON.stringify(request)}`];
    const key = `${from.mark} ${request.start.includes('/next-')}`;
    if (seen.has(key)) return [`twice: ${JSON.stringify({ request, from })}`];
    seen.add(key);
    const odd = request.headers.filter(
      (name, at) => at % 2 === 0 && name !== HOST_HEADER && OWN_HEADERS.includes(name),
    );
    return odd.length > 0 ? [`${odd} in ${JSON.stringify(request)}`] : [];
  });
};

/** An answer of the destination that came to an app is that of a request of this app. */
const answerFaults = (sent: Sent[], arrivals: readonly Message[]): string[] => {
  const starts = new Map<string, string[]>();
  for (const request of arrivals) {
    const mark = ownerOf(sent, request)?.mark ?? '';
    starts.set(mark, [...(starts.get(mark) ?? []), request.start.replace(/ HTTP\/1\.1$/, '')]);
  }
  return sent.flatMap(({ mark, bytes, exchange: { answers } }) =>
    answers
      .filter(({ status, body }) => status === 200 && body !== '' && !starts.get(mark)?.includes(body))
      .map(({ body }) => `${mark} was answered ${JSON.stringify(body)} for ${JSON.stringify(bytes)}`),
  );
};

interface Stored {
  id: string;
  url: string;
  method: string;
  state: string;
}
const stored = async (layby: Layby) =>
  (await (await fetch(`http://${layby.admin}/v1/queue`)).json()) as Stored[];

const run = async (t: Test, recorder: Recorder, layby: Layby, seed: number): Promise<void> => {
  const random = randomFrom(seed);
  const pids = () => (['control-plane', 'queue', 'envoy'] as const).map((part) => layby.pidOf(part));
  const before = pids();
  const from = recorder.requests.length;

  const online = await send(layby, random, `s${'abcdefgh'[seed % 8]}o`, REQUESTS / 2);
  await layby.untilQueue((lines) => lines.length === 0);
  const there = recorder.requests.slice(from);
  t.same([...arrivalFaults(online, there), ...answerFaults(online, there)].slice(0, 3), [], 'with a link');

  await layby.link('down');
  const held = await send(layby, random, `s${'abcdefgh'[seed % 8]}h`, REQUESTS / 2);
  const entries = await stored(layby);
  const receipts = new Set(
    held.flatMap(({ exchange: { answers } }) =>
      answers.flatMap(({ headers }) => valuesOf(headers, 'layby-entry')),
    ),
  );
  const late = new Set(held.filter(({ exchange }) => exchange.late).map(({ mark }) => mark));
  const ids = new Set(entries.map(({ id }) => id));
  t.same([...receipts].filter((id) => !ids.has(id)).slice(0, 3), [], 'what has a receipt is stored');
  t.same(
    entries
      .filter(({ id, url }) => !receipts.has(id) && ![...late].some((mark) => url.includes(mark)))
      .slice(0, 3),
    [],
    'what was refused is not stored',
  );
  const offline = recorder.requests.length;
  await layby.link('auto');
  await layby.untilQueue((lines) => lines.length === 0, 60_000);
  const replayed = recorder.requests.slice(offline);
  t.same(arrivalFaults(held, replayed).slice(0, 3), [], 'without a link');
  const lines = (requests: string[]) => requests.toSorted();
  t.same(
    lines(replayed.map(({ start }) => start)),
    lines(entries.map(({ method, url }) => `${method} ${url.replace(/^http:\/\/[^/]*/, '')} HTTP/1.1`)),
    'each entry arrived as it was stored',
  );

  t.same(recorder.desyncs, []);
  t.same(pids(), before, 'no part died');
  const statuses = new Map<number, number>();
  for (const { exchange } of [...online, ...held])
    for (const { status } of exchange.answers) statuses.set(status, (statuses.get(status) ?? 0) + 1);
  t.comment(
    `seed ${seed}: ${JSON.stringify(Object.fromEntries([...statuses].sort()))}, ${late.size} waited for more`,
  );
};

t.test('twisted requests', async (t) => {
  const recorder = await startRecorder();
  t.teardown(() => recorder.close());
  const document = (name: string, host: string, mode: string) =>
    JSON.stringify({
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Destination',
      metadata: { name },
      spec: {
        hosts: [host],
        upstream: { url: `http://127.0.0.1:${recorder.port}` },
        store: { order: 'none', mode },
        replay: { concurrency: 16, retry: { max: '1s' } },
      },
    });
  const layby = await startLayby({
    data: join(testdir(t), 'd'),
    policy: [
      document('api', 'api.example', 'failover'),
      document('wild', '*.wild.example', 'failover'),
      document('never', 'never.example', 'never'),
    ].join('\n---\n'),
  });
  t.teardown(() => layby.kill9('all'));
  for (const seed of SEEDS)
    await t.test(
      `LAYBY_SEED=${seed}: nothing is out of step, and nothing is stored or sent that should not be`,
      async (t) => {
        await run(t, recorder, layby, seed).catch((error: unknown) => {
          if (!(error instanceof Desync)) throw error;
          t.fail(`an answer that is none: ${error.message}`);
        });
      },
    );
});
