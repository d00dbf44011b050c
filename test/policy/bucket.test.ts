// Which part of a host's name is a bucket.

import t from 'tap';
import { bucketHosts, bucketInHost, pathStyle } from '../../src/policy/bucket.ts';
import type { Destination } from '../../src/policy/policy.ts';
import { destinationOf } from '../queue/scene.ts';

const s3 = (hosts: string[], url = 'https://s3.eu-west-1.amazonaws.com'): Destination => ({
  ...destinationOf('s3'),
  hosts,
  upstream: { url, sign: { aws: { service: 's3', region: 'eu-west-1' } } },
});

t.test(
  'what stands before the wildcard is the bucket; the longest name, and exact ones, first',
  async (t) => {
    const destination = s3(['s3.example', '*.s3.example', '*.eu.s3.example', 'edge.s3.example']);
    t.same(bucketHosts(destination), ['eu.s3.example', 's3.example']);
    for (const [authority, bucket] of [
      ['clips.s3.example', 'clips'],
      ['Clips.S3.Example.:8080', 'clips'],
      ['my.clips.s3.example', 'my.clips'],
      ['clips.eu.s3.example', 'clips'],
      ['eu.s3.example', 'eu'],
      ['s3.example', undefined],
      ['edge.s3.example:80', undefined],
      ['clipss3.example', undefined],
    ] as const)
      t.equal(bucketInHost(destination, authority), bucket, authority);
    t.equal(pathStyle(destination, 'http://Clips.s3.example:81/a?b=/'), 'http://s3.example:81/clips/a?b=/');
    t.equal(pathStyle(destination, 'http://clips.s3.example./'), 'http://s3.example/clips/');
    t.equal(pathStyle(destination, 'http://s3.example/clips/a'), 'http://s3.example/clips/a');
  },
);

t.test('a name is no bucket where the upstream has one, or is not S3', async (t) => {
  const hosts = ['*.s3.example'];
  t.same(bucketHosts(s3(hosts, 'https://s3.eu-west-1.amazonaws.com/clips')), []);
  t.same(bucketHosts(s3(hosts, 'https://clips.s3.eu-west-1.amazonaws.com')), []);
  t.same(bucketHosts({ ...destinationOf('api'), hosts }), []);
  t.same(bucketHosts({ ...destinationOf('api', { receipt: 's3' }), hosts }), ['s3.example']);
});
