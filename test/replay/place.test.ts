// An upload that was begun at an upstream of a rule or a split goes on, and is taken back, there and nowhere else.

import t from 'tap';
import { forEntry } from '../../src/policy/in-force.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { destinationAt, placeOf } from '../../src/replay/deliver/place.ts';
import { uploadPath } from '../../src/replay/deliver/upload-place.ts';
import { destination } from '../policy/documents.ts';

const parsed = (url: string) =>
  parsePolicy([
    {
      path: 'p.yaml',
      text: destination({ more: `rules: [{match: {path: {prefix: /big/}}, upstream: {url: "${url}"}}]` }),
    },
  ]).destinations[0]!;

t.test('the place of an upload leads back to its upstream, as long as the policy names it', async (t) => {
  const policy = parsed('https://big.example');
  const big = placeOf(forEntry(policy, { id: '1', method: 'PUT', url: 'http://dashcam.example/big/1' }));
  const own = placeOf(forEntry(policy, { id: '1', method: 'PUT', url: 'http://dashcam.example/1' }));
  t.match(big, { destination: 'dashcam', upstream: /^dashcam@[0-9a-f]{8}$/ });
  t.same(own, { destination: 'dashcam' }, 'as it was written down before there were rules');
  t.equal(destinationAt(policy, big)?.upstream.url, 'https://big.example');
  t.equal(destinationAt(policy, own)?.upstream.url, 'https://cloud.example');
  t.equal(destinationAt(parsed('https://other.example'), big), undefined);
});

t.test('an app that calls a path of slashes calls the upstream, whatever follows them', async (t) => {
  const policy = parsed('https://big.example');
  for (const path of ['//', '//evil.example/x', '//[', '///'])
    t.equal(
      uploadPath(policy, `http://dashcam.example${path}`, '/files/1'),
      '/files/1',
      `the upload that ${path} began is found`,
    );
  t.equal(
    uploadPath(policy, 'http://dashcam.example//evil.example/x', '//evil.example/files/1'),
    undefined,
    'and is followed to no other host',
  );
});
