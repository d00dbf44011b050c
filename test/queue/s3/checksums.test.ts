// Checksums of all kinds that S3 knows, as S3 computes them.

import t from 'tap';
import { Checksums } from '../../../src/queue/s3/checksums.ts';

/** Of `123456789`, the check value of the catalogues; base64. */
const RIGHT: Record<string, string> = {
  'content-md5': 'JfnnlDI7RTiF9RgfG2JNCw==',
  'x-amz-checksum-crc32': 'y/Q5Jg==',
  'x-amz-checksum-crc32c': '4waSgw==',
  'x-amz-checksum-crc64nvme': 'rosUhgp5mIg=',
  'x-amz-checksum-sha1': '98O8HYCOBHMq32eZZczDTKeuNEE=',
};
const SHA256 = '15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225';
RIGHT['x-amz-checksum-sha256'] = Buffer.from(SHA256, 'hex').toString('base64');
RIGHT['x-amz-content-sha256'] = SHA256;

const verify = async (name: string, value: string, body: string, behind = false): Promise<void> => {
  const sums = await Checksums.of(behind ? {} : { [name]: value }, behind ? [name] : []);
  for (const piece of [body.slice(0, 4), body.slice(4)]) sums.update(Buffer.from(piece));
  sums.verify(new Map(behind ? [[name, value]] : []));
};

const CODES: Record<string, [wrong: string, invalid: string | undefined]> = {
  'content-md5': ['BadDigest', 'InvalidDigest'],
  'x-amz-content-sha256': ['XAmzContentSHA256Mismatch', undefined],
};

for (const [name, value] of Object.entries(RIGHT))
  t.test(`${name}: the right one passes, a wrong one and what is none are refused`, async (t) => {
    const [wrong, invalid] = CODES[name] ?? ['BadDigest', 'InvalidRequest'];
    await verify(name, value, '123456789');
    await t.rejects(verify(name, value, '123456780'), { status: 400, code: wrong });
    if (invalid)
      for (const none of ['AAAA', `${value.slice(0, -2)}!=`, '', value.replace(/=+$/, '')])
        await t.rejects(verify(name, none, '123456789'), { code: invalid }, none);
    if (!name.startsWith('x-amz-checksum-')) return;
    await verify(name, value, '123456789', true);
    await t.rejects(verify(name, value, '12345678', true), { code: 'BadDigest' });
    await t.rejects(verify(name, 'no', '123456789', true), { code: 'InvalidRequest' });
  });

t.test('two checksums of the new kind are one too many', async (t) => {
  const { 'x-amz-checksum-sha1': sha1, 'x-amz-checksum-crc32': crc32 } = RIGHT;
  const both = { 'x-amz-checksum-sha1': sha1!, 'x-amz-checksum-crc32': crc32! };
  await t.rejects(Checksums.of(both), { code: 'InvalidRequest' });
  await t.rejects(Checksums.of({ 'x-amz-checksum-sha1': sha1! }, ['x-amz-checksum-crc32']), {
    code: 'InvalidRequest',
  });
});

t.test('words in the place of a hash of the payload are no hash', async (t) => {
  for (const word of ['UNSIGNED-PAYLOAD', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'])
    t.ok((await Checksums.of({ 'x-amz-content-sha256': word })).none);
});
