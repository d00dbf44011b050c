// Conditions and ranges as RFC 9110 writes them.

import type { IncomingHttpHeaders } from 'node:http';
import t from 'tap';
import { rangeOf, verdictOn } from '../../src/queue/conditions.ts';

const TAG = '"a"';

t.test('a range is read as RFC 9110 writes it', async (t) => {
  for (const [header, bytes, range] of [
    [undefined, 10, 'all'],
    ['bytes=0-0', 10, { start: 0, end: 1 }],
    ['bytes=2-', 10, { start: 2, end: 10 }],
    ['bytes=-3', 10, { start: 7, end: 10 }],
    ['bytes=-30', 10, { start: 0, end: 10 }],
    ['bytes=5-99', 10, { start: 5, end: 10 }],
    ['BYTES=5-5', 10, { start: 5, end: 6 }],
    ['bytes=10-', 10, 'none'],
    ['bytes=-0', 10, 'none'],
    ['bytes=0-', 0, 'none'],
    ['bytes=-1', 0, 'all'],
    [' bytes=0-1', 10, 'all'],
    ['bytes= 0-1 ', 10, { start: 0, end: 2 }],
    ['bytes=5-4', 10, 'all'],
    ['bytes=0-1,4-5', 10, 'all'],
    ['lines=1-2', 10, 'all'],
    ['bytes=-', 10, 'all'],
    ['bytes=99999999999999999999-', 10, 'none'],
  ] as const)
    t.same(rangeOf({ range: header }, TAG, bytes), range, `${header} of ${bytes}`);
  const range = 'bytes=0-1';
  t.same(rangeOf({ range, 'if-range': TAG }, TAG, 10), { start: 0, end: 2 });
  for (const other of ['"b"', `W/${TAG}`, 'Sun, 22 Nov 2026 10:00:00 GMT'])
    t.same(rangeOf({ range, 'if-range': other }, TAG, 10), 'all', `If-Range: ${other}`);
});

t.test('conditions are judged in the order of section 13.2.2', async (t) => {
  const changed = Date.parse('2026-11-22T10:00:00.900Z');
  const [before, same] = ['Sun, 22 Nov 2026 09:59:59 GMT', 'Sun, 22 Nov 2026 10:00:00 GMT'];
  const there = { etag: TAG, changed };
  const unnamed = { etag: undefined };
  const cases: [
    headers: IncomingHttpHeaders,
    current: object | undefined,
    reading: string,
    writing: string,
  ][] = [
    [{}, there, 'go', 'go'],
    [{ 'if-match': TAG }, there, 'go', 'go'],
    [{ 'if-match': '"b", "a"' }, there, 'go', 'go'],
    [{ 'if-match': 'a' }, there, 'go', 'go'],
    [{ 'if-match': '*' }, there, 'go', 'go'],
    [{ 'if-match': 'W/"a"' }, there, 'failed', 'failed'],
    [{ 'if-match': '"A"' }, there, 'failed', 'failed'],
    [{ 'if-match': '' }, there, 'failed', 'failed'],
    [{ 'if-match': '*' }, undefined, 'failed', 'failed'],
    [{ 'if-match': TAG }, unnamed, 'go', 'go'],
    [{ 'if-none-match': '*' }, there, 'unchanged', 'failed'],
    [{ 'if-none-match': '*' }, unnamed, 'unchanged', 'failed'],
    [{ 'if-none-match': '*' }, undefined, 'go', 'go'],
    [{ 'if-none-match': 'W/"a"' }, there, 'unchanged', 'failed'],
    [{ 'if-none-match': '"b"' }, there, 'go', 'go'],
    [{ 'if-none-match': TAG }, unnamed, 'go', 'go'],
    [{ 'if-unmodified-since': before }, there, 'failed', 'failed'],
    [{ 'if-unmodified-since': same }, there, 'go', 'go'],
    [{ 'if-unmodified-since': 'Sunday, 22-Nov-26 09:59:59 GMT' }, there, 'failed', 'failed'],
    [{ 'if-unmodified-since': 'Sun Nov 22 09:59:59 2026' }, there, 'failed', 'failed'],
    [{ 'if-unmodified-since': '2026-11-22T09:59:59Z' }, there, 'go', 'go'],
    [{ 'if-unmodified-since': before }, { etag: TAG }, 'go', 'go'],
    [{ 'if-match': TAG, 'if-unmodified-since': before }, there, 'go', 'go'],
    [{ 'if-modified-since': same }, there, 'unchanged', 'go'],
    [{ 'if-modified-since': before }, there, 'go', 'go'],
    [{ 'if-none-match': '"b"', 'if-modified-since': same }, there, 'go', 'go'],
    [{ 'if-match': TAG, 'if-none-match': TAG }, there, 'unchanged', 'failed'],
  ];
  for (const [headers, current, reading, writing] of cases) {
    const words = `${JSON.stringify(headers)} of ${JSON.stringify(current)}`;
    t.equal(verdictOn(headers, current as typeof there, true), reading, `reading ${words}`);
    t.equal(verdictOn(headers, current as typeof there, false), writing, `writing ${words}`);
  }
});
