// What counts as delivered to a destination that is not S3: by default, and by the policy's own words.

import t from 'tap';
import type { Delivered } from '../../src/policy/policy.ts';
import type { Result } from '../../src/replay/deliver/deliver.ts';
import { resultOf } from '../../src/replay/deliver/http.ts';
import { resultOfS3 } from '../../src/replay/deliver/s3/single.ts';
import { errorIn } from '../../src/replay/deliver/s3/xml.ts';
import { destination } from '../policy/destination.ts';

const PAGE = '<!doctype html><html><head><title>Login</title></head></html>';
const HTML = ['Content-Type', 'text/html'];

const head = (method = 'POST', url = 'http://api.example/v1/events', headers: string[] = []) => ({
  ...{ id: 'e1', destination: 'api', method, url, headers },
  ...{ orderKey: '', class: 1, receivedAt: 0 },
});

const short = (result: Result): string =>
  result.kind === 'answered' ? result.outcome : result.suspicious ? 'suspicious' : result.kind;

const at =
  (url: string, delivered?: Delivered) =>
  (status: number, headers: string[] = [], text = ''): string =>
    short(
      resultOf(
        destination({ name: 'api', upstream: { url }, replay: { ...(delivered && { delivered }) } }),
        head(),
        { status, headers, text },
      ),
    );

t.test('over http any 2xx is delivered but a page of HTML', async (t) => {
  const http = at('http://api.example');
  for (const status of [200, 201, 202, 204]) t.equal(http(status), 'delivered', String(status));
  t.equal(http(200, HTML, 'OK'), 'delivered', 'servers that call everything text/html');
  t.equal(http(200, HTML, ''), 'delivered');
  t.equal(http(200, ['Content-Type', 'application/json'], '{}'), 'delivered');
  t.equal(http(200, ['Content-Type', 'text/xml'], '<ok/>'), 'delivered');
  t.equal(http(200, HTML, PAGE), 'suspicious');
  t.equal(http(200, [], `\n${PAGE}`), 'suspicious');
  t.equal(http(404, HTML, PAGE), 'dead', 'a refusal may well be a page');
  t.equal(http(503, HTML, PAGE), 'retry');
});

t.test('over https a page counts, since a portal has no certificate of the destination', async (t) => {
  t.equal(at('https://api.example')(200, HTML, PAGE), 'delivered');
});

t.test('a redirect to another host is suspicious, one to the same host is an answer', async (t) => {
  const http = at('http://api.example/base');
  for (const status of [301, 302, 303, 307, 308]) {
    const to = (location: string) => http(status, ['Location', location]);
    t.equal(to('http://login.example/?from=api.example'), 'suspicious', `${status} away`);
    t.equal(to('https://192.0.2.1/'), 'suspicious');
    t.equal(to('//login.example/'), 'suspicious');
    t.equal(to('/elsewhere'), 'dead', `${status} on the same host`);
    t.equal(to('https://API.example:8443/x'), 'dead');
    t.equal(http(status), 'suspicious', 'to nowhere');
    t.equal(to('http://['), 'suspicious');
    t.equal(at('https://api.example')(status, ['Location', 'https://sso.example/']), 'suspicious');
  }
  t.equal(http(304), 'dead');
  t.equal(http(511), 'suspicious');
  t.equal(http(407), 'suspicious');
});

t.test('the reason names the portal and the remedy', async (t) => {
  const http = destination({ upstream: { url: 'http://api.example' } });
  const said = (status: number, headers: string[], text = '') =>
    resultOf(http, head(), { status, headers, text });
  t.match(said(200, HTML, PAGE), {
    ...{ kind: 'no-link', words: /HTML page; a captive portal\? .*replay\.delivered\.html: allow/, moved: 0 },
    suspicious: { status: 200, answer: { status: 200, headers: HTML } },
  });
  t.match(said(302, ['location', 'http://l.example/']), {
    words: '302 to another host, http://l.example/; a captive portal?',
  });
});

t.test('the policy says which status, headers and pages count', async (t) => {
  const created = at('http://api.example', { status: [201, 303, 404, 409] });
  t.equal(created(201), 'delivered');
  t.equal(created(409), 'delivered', 'it is there already');
  t.equal(created(404), 'delivered');
  t.equal(created(303, ['Location', 'http://other.example/']), 'delivered', 'as the policy says');
  t.equal(created(200), 'suspicious');
  t.equal(created(400), 'dead');
  t.equal(created(503), 'retry');
  t.equal(created(401), 'unauthorized');
  t.equal(created(302, ['Location', 'http://other.example/']), 'suspicious');

  const named = at('http://api.example', {
    headers: [{ name: 'x-id' }, { name: 'server', value: 'ingest' }, { name: 'x-offset', regex: '[0-9]+' }],
  });
  const all = ['X-Id', '', 'Server', 'ingest', 'X-Offset', '12'];
  t.equal(named(200, all), 'delivered');
  t.equal(named(200, all.slice(2)), 'suspicious', 'a header is missing');
  t.equal(named(200, all.with(3, 'Ingest')), 'suspicious');
  t.equal(named(200, all.with(5, '12x')), 'suspicious', 'the whole value is matched');
  t.equal(named(500, []), 'retry');

  t.equal(at('http://api.example', { html: 'allow' })(200, HTML, PAGE), 'delivered');
  t.equal(at('https://api.example', { html: 'deny' })(200, HTML, PAGE), 'suspicious');
});

t.test('what an app has signed for S3 is delivered by an answer of S3 only', async (t) => {
  const credential = encodeURIComponent('AKID/20260101/eu-west-1/s3/aws4_request');
  const url = `http://s3.example/b/k?X-Amz-Credential=${credential}&X-Amz-Signature=0`;
  const put = (status: number, headers: string[], text = '', delivered?: Delivered) =>
    short(
      resultOf(
        destination({ upstream: { url: 'https://s3.example' }, replay: { ...(delivered && { delivered }) } }),
        head('PUT', url),
        { status, headers, text },
      ),
    );
  t.equal(put(200, ['ETag', '"1"']), 'delivered');
  t.equal(put(200, []), 'suspicious');
  t.equal(put(200, HTML, PAGE), 'suspicious');
  t.equal(put(403, HTML, PAGE), 'suspicious');
  t.equal(put(403, [], '<Error><Code>AccessDenied</Code></Error>'), 'unauthorized');
  t.equal(put(200, [], '', { status: [200] }), 'delivered', 'the policy takes the place of that check');
});

t.test('of S3 the policy may say which answers count, and S3 says what the others mean', async (t) => {
  const answered = (delivered: Delivered | undefined, status: number, text = '') =>
    short(
      resultOfS3(
        {
          entry: head('PUT', 'http://s3.example/b/k'),
          destination: destination({ replay: { ...(delivered && { delivered }) } }),
        },
        { status, headers: [], text, whole: true, error: errorIn(text) },
      ),
    );
  const error = (code: string) => `<Error><Code>${code}</Code></Error>`;
  for (const delivered of [undefined, { status: [200, 409] }]) {
    t.equal(answered(delivered, 200, error('InternalError')), 'retry', 'an error behind a 200');
    t.equal(answered(delivered, 400, error('ExpiredToken')), 'unauthorized');
    t.equal(answered(delivered, 400, error('RequestTimeout')), 'retry');
    t.equal(answered(delivered, 404, error('NoSuchBucket')), 'dead');
    t.equal(answered(delivered, 200, PAGE), 'suspicious');
  }
  t.equal(answered(undefined, 200), 'suspicious', 'no ETag');
  t.equal(answered({ status: [200, 409] }, 200), 'delivered');
  t.equal(answered({ status: [200, 409] }, 409, error('BucketAlreadyOwnedByYou')), 'delivered');
  t.equal(answered({ status: [200, 409] }, 204), 'suspicious');
});
