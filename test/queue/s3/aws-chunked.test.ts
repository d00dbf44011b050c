// S3's own framing of bodies is taken apart exactly, however the bytes come, and refused where it is wrong.

import t from 'tap';
import { S3Refused } from '../../../src/queue/s3/answer.ts';
import { AwsChunked } from '../../../src/queue/s3/aws-chunked.ts';

const decode = (body: string, step: number): { payload: string; trailers: Record<string, string> } => {
  const bytes = Buffer.from(body, 'latin1');
  const frames = new AwsChunked();
  let payload = '';
  for (let at = 0; at < bytes.length; at += step)
    for (const piece of frames.take(bytes.subarray(at, at + step))) payload += piece.toString('latin1');
  return { payload, trailers: Object.fromEntries(frames.end()) };
};

const SIGNATURE = `;chunk-signature=${'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648'}`;

const SHAPES: Record<string, [body: string, payload: string, trailers: Record<string, string>]> = {
  unsigned: ['5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n', 'hello!', {}],
  'unsigned with a trailer': [
    'A\r\nhello\r\n!!\n\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n',
    'hello\r\n!!\n',
    { 'x-amz-checksum-crc32': 'AAAAAA==' },
  ],
  signed: [`5${SIGNATURE}\r\nhello\r\n0${SIGNATURE}\r\n\r\n`, 'hello', {}],
  'signed with a trailer': [
    `5${SIGNATURE}\r\nhello\r\n0${SIGNATURE}\r\nX-Amz-Checksum-Crc32c: AAAAAA==\r\nx-amz-trailer-signature:ab\r\n\r\n`,
    'hello',
    { 'x-amz-checksum-crc32c': 'AAAAAA==', 'x-amz-trailer-signature': 'ab' },
  ],
  'a trailer as minio-go writes it': [
    '0\r\nx-amz-checksum-crc32c:AAAAAA==\n\r\nx-amz-trailer-signature:ab\r\n\r\n',
    '',
    { 'x-amz-checksum-crc32c': 'AAAAAA==', 'x-amz-trailer-signature': 'ab' },
  ],
  'an empty body': ['0\r\n\r\n', '', {}],
};

for (const [name, [body, payload, trailers]] of Object.entries(SHAPES))
  t.test(`${name}: taken apart, however it is cut`, async (t) => {
    for (let step = 1; step <= body.length; step++)
      t.same(decode(body, step), { payload, trailers }, `pieces of ${step}`);
  });

const MALFORMED: Record<string, [body: string, code: string]> = {
  'no size': ['\r\nhello\r\n0\r\n\r\n', 'InvalidRequest'],
  'a size that is no number': ['5g\r\nhello\r\n0\r\n\r\n', 'InvalidRequest'],
  'a sign before the size': ['+5\r\nhello\r\n0\r\n\r\n', 'InvalidRequest'],
  'a size too large to be one': [`${'f'.repeat(14)}\r\nhello`, 'InvalidRequest'],
  'a bare line feed behind the size': ['5\nhello\r\n0\r\n\r\n', 'InvalidRequest'],
  'an extension that is no signature': ['5;a=b\r\nhello\r\n0\r\n\r\n', 'InvalidRequest'],
  'a chunk longer than its size': ['4\r\nhello\r\n0\r\n\r\n', 'InvalidRequest'],
  'a chunk shorter than its size': ['6\r\nhello\r\n0\r\n\r\n', 'InvalidRequest'],
  'a head without an end': ['0'.repeat(600), 'InvalidRequest'],
  'trailers without an end': [`0\r\nx: ${'a'.repeat(20_000)}`, 'InvalidRequest'],
  'no last chunk': ['5\r\nhello\r\n', 'IncompleteBody'],
  'an end in the middle of a chunk': ['5\r\nhel', 'IncompleteBody'],
  'nothing at all': ['', 'IncompleteBody'],
  'no end of the last chunk': ['5\r\nhello\r\n0\r\n', 'MalformedTrailerError'],
  'a trailer that is none': ['0\r\nhello\r\n\r\n', 'MalformedTrailerError'],
  'a trailer without an end': ['0\r\nx-amz-checksum-crc32:AAAAAA==', 'MalformedTrailerError'],
  'bytes behind the end': ['0\r\n\r\nPUT / HTTP/1.1\r\n', 'MalformedTrailerError'],
};

for (const [name, [body, code]] of Object.entries(MALFORMED))
  t.test(`${name}: refused with ${code}`, async (t) => {
    for (const step of [1, 7, Math.max(1, body.length)])
      try {
        decode(body, step);
        t.fail('taken');
      } catch (error) {
        t.ok(error instanceof S3Refused);
        t.match(error, { status: 400, code });
      }
  });
