// What tests of S3 without a link share: the queue with a destination that is a bucket of S3, and S3's ways of saying things.

import { createHash } from 'node:crypto';
import type { Test } from 'tap';
import type { Destination } from '../../../src/policy/policy.ts';
import { testdir } from '../../rig/testdir.ts';
import { type Answer, destinationOf, scene } from '../scene.ts';

export const bucketOf = (store: Partial<Destination['store']> = {}): Destination => ({
  ...destinationOf('s3', { methods: ['PUT', 'POST', 'DELETE'], receipt: 's3', order: 'key', ...store }),
  upstream: { url: 'https://s3.example', sign: { aws: { service: 's3', region: 'eu-west-1' } } },
});

export const bucket = async (t: Test, store: Partial<Destination['store']> = {}) => {
  const made = await scene(testdir(t), [bucketOf(store)]);
  t.teardown(() => made.stop());
  return made;
};

export type Bucket = Awaited<ReturnType<typeof bucket>>;

export const md5 = (body: string | Buffer): string => createHash('md5').update(body).digest('hex');

/** The text of the first element of this name. */
export const xml = ({ text }: Answer, name: string): string | undefined =>
  new RegExp(`<${name}(?: [^>]*)?>([^<]*)</${name}>`).exec(text)?.[1];
export const allXml = ({ text }: Answer, name: string): string[] =>
  [...text.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g'))].map(([, value]) => value!);

export const isError = (t: Test, answer: Answer, status: number, code: string): void => {
  t.equal(answer.status, status, answer.text);
  t.equal(answer.headers['content-type'], 'application/xml');
  t.equal(xml(answer, 'Code'), code);
  t.ok(xml(answer, 'RequestId'));
  t.ok(xml(answer, 'Resource')?.startsWith('/'));
  t.equal(answer.headers['retry-after'], undefined, 'several clients hang for as long as it says');
};

export const stored = async (
  s3: Bucket,
): Promise<{ method: string; url: string; state: string; bytes: number }[]> =>
  JSON.parse((await s3.admin('/v1/queue')).text);

/** A body in frames of at most `size` bytes. */
export const framed = (body: Buffer, trailers = '', size = 64 * 1024): Buffer => {
  const frames: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const chunk = body.subarray(at, at + size);
    frames.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'));
  }
  return Buffer.concat([...frames, Buffer.from(`0\r\n${trailers}\r\n`)]);
};
