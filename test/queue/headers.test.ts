import t from 'tap';
import { endToEndHeaders } from '../../src/queue/headers.ts';
import { resourceOf } from '../../src/store/resource.ts';
import { destination } from '../policy/destination.ts';

const signed = destination({
  upstream: { url: 'https://s3.example', sign: { aws: { service: 's3', region: 'r' } } },
});

t.test('end-to-end headers are kept as they came, doubles and order included', async (t) => {
  const raw = ['X-B', '1', 'x-a', '2', 'X-B', '3', 'Authorization', 'Bearer x', 'Cookie', 'c'];
  t.same(endToEndHeaders(raw, destination()), raw);
});

t.test('what belongs to the hop is left out, also what Connection names', async (t) => {
  t.same(
    endToEndHeaders(
      [
        'Connection',
        'keep-alive, X-Hop',
        'X-Hop',
        '1',
        'TE',
        'trailers',
        'Transfer-Encoding',
        'chunked',
        'X',
        'y',
      ],
      destination(),
    ),
    ['X', 'y'],
  );
});

t.test('an app cannot set what Layby sets', async (t) => {
  const names = [
    ...[
      'Layby-Host',
      'layby-destination',
      'Layby-Entry',
      'LAYBY_HOST',
      'layby-no_link',
      'Layby-Stream',
      'layby-segment',
    ],
    ...[
      'Layby-Stream-End',
      'layby_stream_end',
      'x-amz-meta-layby-stream',
      'X-Amz-Meta-Layby-Entry',
      'x_amz_meta_layby_entry',
    ],
  ];
  t.same(
    endToEndHeaders(
      names.flatMap((name) => [name, 'x']),
      destination(),
    ),
    [],
  );
  const others = [
    'layby-streams',
    'x-layby-stream',
    'x-amz-meta-stream',
    'x-amz-meta-layby',
    'layby',
  ].flatMap((name) => [name, 'x']);
  t.same(endToEndHeaders(others, destination()), others);
});

t.test('a signature that will be made anew is not stored, and only that', async (t) => {
  t.same(
    endToEndHeaders(
      [
        'Authorization',
        'AWS4-HMAC-SHA256 x',
        'X-Amz-Date',
        'd',
        'x-amz-meta-a',
        'b',
        'x-amz-content-sha256',
        'z',
      ],
      signed,
    ),
    ['x-amz-meta-a', 'b'],
  );
});

t.test(
  'the order key is the resource: host without port, path without query, whatever the method',
  async (t) => {
    t.equal(resourceOf('http://A.example:15001/x/y?z=1'), 'a.example/x/y');
    t.equal(resourceOf('http://a.example/x/y'), 'a.example/x/y');
    t.equal(resourceOf('http://[::1]:80/x'), '[::1]/x');
  },
);
