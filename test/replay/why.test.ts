import t from 'tap';
import { type LaneView, type WhyState, why } from '../../src/replay/why.ts';
import { newHead } from '../../src/store/conformance.ts';
import type { Entry, StoreEvent } from '../../src/store/store.ts';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const BEFORE = Date.parse('2026-11-22T11:00:00Z');

const entry = (changed: Partial<Entry> = {}): Entry => ({
  ...newHead({ id: 'this' }),
  seq: 9,
  bytes: 1,
  sha256: '',
  trailers: [],
  state: 'stored',
  attempts: 0,
  ...changed,
});
const event = (kind: StoreEvent['kind'], detail?: string): StoreEvent => ({
  kind,
  id: 'this',
  seq: 9,
  destination: 'dashcam',
  bytes: 1,
  at: BEFORE,
  ...(detail !== undefined && { detail }),
});
const lane = (changed: Partial<LaneView> = {}): LaneView => ({
  link: { up: true, by: 'default', since: 0 },
  probeIn: 0,
  pause: { ms: 0, after: '', failures: 0 },
  underWay: 0,
  concurrency: 4,
  giveUpAfter: 3_600_000,
  place: { pauseMs: 0 },
  ...changed,
});
const at = (state: Partial<WhyState>): WhyState => ({ id: 'this', now: NOW, ...state });
const waits = (changed: Partial<LaneView>, of: Partial<Entry> = {}): WhyState =>
  at({ entry: entry(of), lane: lane(changed) });

const behind = (older: Entry): WhyState => ({
  ...waits({ place: { pauseMs: 0, olderId: older.id } }),
  older,
});

const DOWN = { up: false, since: BEFORE };

const TABLE: [what: string, state: WhyState, lines: (RegExp | string)[]][] = [
  ['never seen', at({}), [/^this was never stored here, or so long ago/]],
  [
    'delivered',
    at({ last: event('delivered', '200 on try 2') }),
    ['it was delivered at 2026-11-22T11:00:00.000Z: 200 on try 2'],
  ],
  [
    'expired',
    at({ last: event('expired', 'its time to live of 1h is over') }),
    [/^it was dropped by a rule of the policy at .* \(expired\): its time to live of 1h is over$/],
  ],
  [
    'evicted',
    at({ last: event('evicted', 'for a higher class') }),
    [/by a rule .* \(evicted\): for a higher class/],
  ],
  [
    'dropped',
    at({ last: event('dropped', 'by alice: wrong camera') }),
    [/^it was dropped by hand at .*: by alice: wrong camera$/],
  ],
  ['lost', at({ last: event('sent', 'try 1') }), [/^it is not in the store; .* sent at .*: try 1$/]],
  [
    'dead',
    at({ entry: entry({ state: 'dead', reason: '422: no' }), last: event('dead', '422: no'), lane: lane() }),
    [
      'it is a dead letter since 2026-11-22T11:00:00.000Z: dashcam refused it for good (422: no)',
      /^to do: `layby queue show this`.*edit.*retry.*drop/,
    ],
  ],
  [
    'damaged',
    at({ entry: entry({ state: 'quarantined', reason: 'a chunk is missing' }), lane: lane() }),
    [/^it is damaged on the disk and never sent: a chunk is missing$/, /^to do: /],
  ],
  ['a part', waits({}, { state: 'staged' }), [/^it is a part of an upload/]],
  ['under way', waits({}, { state: 'sending', attempts: 2 }), ['try 3 is under way']],
  [
    'under way, slowly',
    waits({ rate: 1e6 }, { state: 'sending' }),
    ['try 1 is under way, at 8 Mbit/s for all of dashcam at most'],
  ],
  [
    'no destination, and none that serves its host',
    at({ entry: entry(), orphaned: {} }),
    [
      /^the policy in force names no destination dashcam/,
      /^to do: bring dashcam back; .*queue move \S+ --to NAME/,
    ],
  ],
  [
    'no destination, and another one serves its host',
    at({ entry: entry(), orphaned: { servedBy: 'camera' } }),
    [
      /^the policy in force names no destination/,
      /^to do: camera serves.*queue move --from dashcam --to camera/,
    ],
  ],
  ['just started', at({ entry: entry() }), [/^nothing is sent yet: the queue has just started/]],
  [
    'behind an entry of the destination that had its host before',
    { ...waits({ forbidden: 'never told' }), elsewhere: { id: 'other', destination: 'old' } },
    [/^other is older and goes first; it is stored for old, .*queue move --from old --to dashcam/],
  ],
  [
    'cut by the operator',
    waits({ link: { ...DOWN, by: 'override' } }),
    [
      'the link is down since 2026-11-22T11:00:00.000Z: the operator said so; `layby link auto` takes it back',
    ],
  ],
  [
    'no route',
    waits({ link: { ...DOWN, by: 'kernel' }, probeIn: 9_000 }),
    [
      /^the link is down since .*: the kernel has no route with a carrier; .* next at 2026-11-22T12:00:09.000Z \(in 9 s\)$/,
    ],
  ],
  ['forbidden by the policy', waits({ forbidden: 'the link is metered' }), ['the link is metered']],
  [
    'the destination pauses',
    waits({ pause: { ms: 500, after: 'no link (UF)', failures: 3 }, concurrency: 1 }),
    [/^dashcam pauses until .* \(in 500 ms\), after: no link \(UF\), 3 tries in a row$/],
  ],
  [
    'its own pause',
    waits({ place: { pauseMs: 300_000 } }, { attempts: 1, lastError: '403: no' }),
    [/^it is tried again at 2026-11-22T12:05:00.000Z \(in 5 min\), after: 403: no$/],
  ],
  [
    'refused while others are taken',
    waits(
      { place: { pauseMs: 300_000 } },
      {
        ...{ attempts: 9, lastError: '503: <Error>\n<Code>SlowDown' },
        stuck: { since: BEFORE, answers: 9, counted: 1_800_000 },
      },
    ),
    [
      /^it is tried again .*, after: 503: <Error> <Code>SlowDown$/,
      /^dashcam has refused it 9 times since 2026-11-22T11:00:00.000Z and taken others .* dead letter at 2026-11-23T00:00:00.000Z /,
    ],
  ],
  [
    'behind one that failed',
    behind(entry({ id: 'other', attempts: 2, lastError: '503: busy' })),
    [/^other is older, has the same order key, and goes first: 2 tries failed, the last with: 503: busy$/],
  ],
  [
    'behind one that is under way',
    behind(entry({ id: 'other', state: 'sending' })),
    [/its try 1 is under way$/],
  ],
  [
    'refused before, and others as well',
    waits({ place: { pauseMs: 0, retryIn: 9_000 } }),
    [/^dashcam refuses what is sent again, so one entry is tried at a time, next at .* \(in 9 s\)$/],
  ],
  ['all places taken', waits({ underWay: 4 }), [/^4 of 4 entries that may be under way to dashcam/]],
  ['next', waits({}), [/^nothing stands before it/]],
  [
    'far behind',
    at({
      entry: entry(),
      lane: { ...lane({ link: { ...DOWN, by: 'kernel' } }), place: undefined } as unknown as LaneView,
      oldest: { id: 'first', seq: 1 },
    }),
    [/^the link is down/, 'older entries of dashcam are sent before it, first first'],
  ],
];

for (const [what, state, lines] of TABLE)
  t.test(`why, of an entry: ${what}`, async (t) => {
    const said = why(state);
    t.equal(said.length, lines.length, said.join('\n'));
    for (const [i, line] of lines.entries()) t.match(said[i], line);
  });
