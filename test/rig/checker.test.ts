// The judge is judged: a run without fault, and for every law a run that breaks it by hand.

import t from 'tap';
import { type CheckOptions, check } from './checker.ts';
import { type AppRecord, NUMBER } from './load-plan.ts';
import type { Arrival } from './oracle-protocol.ts';

const HASH = 'a'.repeat(64);

/** Request n of key k, sent at n * 10 and answered at n * 10 + 5. */
const sent = (n: number, over: Partial<AppRecord> = {}): AppRecord => ({
  ...{ n, key: 'k', method: 'PUT', path: '/load/k', bytes: 3, sha256: HASH, trailers: [] },
  headers: ['host', 'app.example', NUMBER, String(n), 'idempotency-key', `rig-${n}`, 'x-a', '1'],
  ...{ status: 200, entryId: null, start: n * 10, end: n * 10 + 5, error: null },
  ...over,
});

const stored = (n: number, over: Partial<AppRecord> = {}): AppRecord =>
  sent(n, { status: 307, entryId: `e${n}`, ...over });

let place = 0;
/** The arrival of a record, after all that were made before it. */
const came = (record: AppRecord, over: Partial<Arrival> = {}): Arrival => ({
  ...{ n: ++place, began: place * 2, ended: place * 2 + 1, at: 0, endedAt: 0 },
  ...{ method: record.method, path: record.path, rawHeaders: record.headers, rawTrailers: [] },
  ...{ bytes: record.bytes, sha256: record.sha256, torn: false, answer: 200, peer: 'vehicle:1' },
  ...over,
});

const violations = (app: AppRecord[], cloud: Arrival[], options?: CheckOptions): string[] =>
  check(app, cloud, options).violations;

t.test('a run where everything arrived once and in order has no violation', async (t) => {
  const app = [sent(1), stored(2), stored(3)];
  const cloud = app.map((record) => came(record));
  t.same(check(app, cloud), {
    ...{ violations: [], receipts: 2, answered: 1, failed: 0 },
    ...{ delivered: 3, duplicates: 0, torn: 0 },
  });
});

t.test('laws 1 and 2: a receipt without a delivery is a violation', async (t) => {
  t.match(violations([stored(1)], []), [/^laws 1 and 2: request 1 \(PUT .*e1\) had a receipt and was never/]);
  t.match(
    violations([stored(1)], [came(stored(1), { torn: true, answer: null })]),
    [/never delivered/],
    'torn',
  );
  t.match(violations([stored(1)], [came(stored(1), { answer: 503 })]), [/never delivered/], 'refused');
});

t.test('law 2: an answer by nobody is a violation', async (t) => {
  t.match(violations([sent(1)], []), [/^law 2: request 1 .* was answered 200 and never arrived/]);
});

t.test('law 2: an entry that the operator let go need not arrive', async (t) => {
  t.same(violations([stored(1)], [], { accounted: new Set(['e1']) }), []);
});

t.test('law 2: two requests with one entry are a violation', async (t) => {
  const app = [stored(1), stored(2, { entryId: 'e1' })];
  t.match(
    violations(
      app,
      app.map((record) => came(record)),
    ),
    [/request 1 got one entry/],
  );
});

t.test('law 2: a second delivery needs the same Idempotency-Key', async (t) => {
  const record = stored(1);
  const bare = record.headers.filter((_, at) => at !== 4 && at !== 5);
  const keyless = { ...record, headers: bare };
  const other = [...bare, 'Idempotency-Key', 'another'];
  t.same(check([record], [came(record), came(record)]).duplicates, 1, 'counted');
  t.same(violations([record], [came(record), came(record)]), [], 'the same key');
  t.match(violations([keyless], [came(keyless), came(keyless)]), [/2 times without an Idempotency-Key/]);
  t.match(
    violations([keyless], [came(keyless), came(keyless, { rawHeaders: other })]),
    [/2 times without/],
    'one without',
  );
  t.match(
    violations([record], [came(record), came(record, { rawHeaders: other })], {
      mayChange: ['idempotency-key'],
    }),
    [/2 times with different/],
  );
  t.match(violations([record], [came(record), came(record)], { duplicates: 'never' }), [/2 times$/]);
  t.same(violations([keyless], [came(keyless), came(keyless)], { duplicates: 'idempotent' }), []);
  const post = { ...keyless, method: 'POST' };
  t.match(violations([post], [came(post), came(post)], { duplicates: 'idempotent' }), [/2 times/]);
});

t.test('law 3: overtaking within a key is a violation', async (t) => {
  const [first, second, elsewhere] = [stored(1), stored(2), stored(2, { key: 'l' })];
  const found = violations([first, second], [came(second), came(first)]);
  t.match(found, [/^law 3: request 2 .* before request 1 .* had ended there \(key k\)/]);
  t.same(violations([first, elsewhere], [came(elsewhere), came(first)]), [], 'another key');
  t.match(violations([first, elsewhere], [came(elsewhere), came(first)], { order: 'strict' }), [/law 3/]);
  t.same(violations([first, second], [came(second), came(first)], { order: 'none' }), []);
});

t.test('law 3: beginning before the earlier one has ended is overtaking', async (t) => {
  const [first, second] = [stored(1), stored(2)];
  const cloud = [came(first, { began: 1, ended: 10 }), came(second, { began: 5, ended: 12 })];
  t.match(violations([first, second], cloud), [/law 3/]);
});

t.test('law 3: a repeated old delivery after a newer one is a violation', async (t) => {
  const [first, second] = [stored(1), stored(2)];
  t.match(violations([first, second], [came(first), came(second), came(first)]), [/law 3/]);
});

t.test('law 3: requests that overlapped at the app have no order', async (t) => {
  const [first, second] = [stored(1, { end: 100 }), stored(2)];
  t.same(violations([first, second], [came(second), came(first)]), []);
});

t.test('law 3: a torn or refused arrival is no overtaking', async (t) => {
  const [first, second] = [stored(1), stored(2)];
  const torn = came(second, { torn: true, answer: null });
  t.same(violations([first, second], [torn, came(second, { answer: 503 }), came(first), came(second)]), []);
});

t.test('law 4: an arrival that nobody sent is a violation', async (t) => {
  t.match(violations([], [came(sent(7))]), [/^law 4: arrival \d+ \(PUT \/load\/k\) was never sent/]);
  t.match(violations([], [came(sent(7), { rawHeaders: [] })]), [/law 4/], 'without a number');
});

t.test('law 5: what arrives is what was sent', async (t) => {
  const record = stored(1);
  const differs = (over: Partial<Arrival>, words: RegExp, options?: CheckOptions) =>
    t.match(violations([record], [came(record, over)], options), [words]);
  const headers = (change: (raw: string[]) => string[]) => ({ rawHeaders: change([...record.headers]) });
  differs({ sha256: 'b'.repeat(64) }, /law 5: .* other bytes/);
  differs({ bytes: 2, sha256: 'b'.repeat(64) }, /law 5: .* 2 bytes instead of 3/);
  differs({ method: 'POST' }, /law 5: .* as POST/);
  differs({ path: '/load/k?x' }, /law 5: .* at \/load\/k\?x/);
  differs({ rawTrailers: ['x', 'y'] }, /law 5: .* trailers/);
  differs(
    headers((raw) => raw.slice(0, -2)),
    /law 5: .* lost its header x-a/,
  );
  differs(
    headers((raw) => raw.with(-1, '2')),
    /law 5: .* x-a changed from "1" to "2"/,
  );
  differs(
    headers((raw) => [...raw, 'X-B', '1']),
    /law 5: .* nobody sent, x-b/,
  );
});

t.test('law 5: what each connection has of its own, and what the run allows, may differ', async (t) => {
  const record = stored(1);
  const rawHeaders = [
    ...record.headers,
    'Connection',
    'close',
    'X-Envoy-Y',
    '1',
    'Layby-Entry',
    'e1',
    'X-B',
    '1',
  ];
  t.same(violations([record], [came(record, { rawHeaders })], { mayAdd: ['x-b'] }), []);
  const changed = record.headers.with(1, 'other.example');
  t.match(violations([record], [came(record, { rawHeaders: changed })]), [/header host changed/]);
  t.same(violations([record], [came(record, { rawHeaders: changed })], { mayChange: ['host'] }), []);
});

t.test('law 7: an error at the app is a violation', async (t) => {
  const failed = sent(1, { status: 0, error: 'UND_ERR_SOCKET' });
  t.match(violations([failed], []), [/^law 7: request 1 .* UND_ERR_SOCKET/]);
  t.same(violations([failed], [], { unfinished: true }), [], 'unless the run was cut short');
  t.match(violations([sent(1, { status: 503 })], []), [/^law 7: .* answered 503/]);
  t.same(violations([sent(1, { status: 507 })], [], { expected: [507] }), []);
  t.match(violations([sent(1, { status: 307 })], []), [/^law 7: .* 307 without Layby-Entry/]);
});

t.test('a record that has one request twice is refused', async (t) => {
  t.match(violations([sent(1), sent(1)], [came(sent(1))]).join(), /request 1 is in it twice/);
});
