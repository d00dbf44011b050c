// The checksums that a client gives with a body, as headers or behind it, and whether they are right. What S3 would verify when
// it gets the body, the queue verifies before the receipt: afterwards there is nobody to send it again.

import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { crc32, crc32c } from '@node-rs/crc32';
import { createCRC64 } from 'hash-wasm';
import { refuse, type S3Refused } from './answer.ts';

interface Digest {
  update(piece: Buffer): void;
  /** Once, at the end. */
  done(): Buffer;
}

const hashed = (name: string): Digest => {
  const hash = createHash(name);
  return { update: (piece) => void hash.update(piece), done: () => hash.digest() };
};

const crc = (next: (piece: Buffer, before?: number) => number): Digest => {
  let sum = 0;
  return {
    update: (piece) => {
      sum = next(piece, sum);
    },
    done: () => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(sum);
      return bytes;
    },
  };
};

/** The polynomial of CRC-64/NVME, bits reversed; the rest of it (all ones before and after) is as with CRC-64/XZ. */
const NVME = '9a6c9329ac4bc9b5';

const crc64nvme = async (): Promise<Digest> => {
  const sum = await createCRC64(NVME);
  sum.init();
  return { update: (piece) => void sum.update(piece), done: () => Buffer.from(sum.digest('binary')) };
};

/** By the end of `x-amz-checksum-…`. Others are kept, and left to S3. */
const ALGORITHMS: Record<string, { bytes: number; digest: () => Digest | Promise<Digest> }> = {
  crc32: { bytes: 4, digest: () => crc(crc32) },
  crc32c: { bytes: 4, digest: () => crc(crc32c) },
  crc64nvme: { bytes: 8, digest: crc64nvme },
  sha1: { bytes: 20, digest: () => hashed('sha1') },
  sha256: { bytes: 32, digest: () => hashed('sha256') },
};

export const CHECKSUM = /^x-amz-checksum-(crc32c?|crc64nvme|sha1|sha256)$/;

/** The checksum over the digests of parts, as S3 makes it: base64 and `-N`. undefined: a part's digest is none. `algorithm`: the end of
 *  its header's name. */
export const checksumOfParts = async (
  algorithm: string,
  parts: readonly string[],
): Promise<string | undefined> => {
  const { bytes, digest } = ALGORITHMS[algorithm]!;
  const whole = await digest();
  for (const part of parts) {
    const decoded = fromBase64(part, bytes);
    if (!decoded) return undefined;
    whole.update(decoded);
  }
  return `${whole.done().toString('base64')}-${parts.length}`;
};

interface Check {
  digest: Digest;
  /** undefined: it comes behind the body. */
  expected: Buffer | undefined;
  /** The trailer that brings it. */
  trailer: string | undefined;
  wrong: () => S3Refused;
}

const fromBase64 = (text: string, bytes: number): Buffer | undefined => {
  const decoded = Buffer.from(text, 'base64');
  return decoded.length === bytes && decoded.toString('base64') === text ? decoded : undefined;
};

const checksumFrom = (name: string, text: string): Buffer => {
  const value = fromBase64(text, ALGORITHMS[CHECKSUM.exec(name)![1]!]!.bytes);
  if (value) return value;
  throw refuse(400, 'InvalidRequest', `Value for ${name} header is invalid.`);
};

const one = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(', ') : value;

/** All that is to be verified of one body. */
export class Checksums {
  readonly #checks: Check[];

  private constructor(checks: Check[]) {
    this.#checks = checks;
  }

  /** `announced`: names of the trailers that will come. Rejects with S3Refused where a checksum is not one. */
  static async of(headers: IncomingHttpHeaders, announced: readonly string[] = []): Promise<Checksums> {
    const checks: Check[] = [];
    const md5 = one(headers['content-md5']);
    if (md5 !== undefined) {
      const expected = fromBase64(md5, 16);
      if (!expected) throw refuse(400, 'InvalidDigest', 'The Content-MD5 you specified is not valid.');
      const wrong = () =>
        refuse(400, 'BadDigest', 'The Content-MD5 you specified did not match what we received.');
      checks.push({ digest: hashed('md5'), expected, trailer: undefined, wrong });
    }
    const payload = one(headers['x-amz-content-sha256']);
    if (payload !== undefined && /^[0-9a-f]{64}$/.test(payload)) {
      const wrong = () =>
        refuse(
          400,
          'XAmzContentSHA256Mismatch',
          "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
      const expected = Buffer.from(payload, 'hex');
      checks.push({ digest: hashed('sha256'), expected, trailer: undefined, wrong });
    }
    const named = Object.keys(headers).filter((name) => CHECKSUM.test(name));
    const trailing = announced.filter((name) => CHECKSUM.test(name));
    if (named.length + trailing.length > 1)
      throw refuse(
        400,
        'InvalidRequest',
        'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
      );
    for (const name of [...named, ...trailing]) {
      const algorithm = CHECKSUM.exec(name)![1]!;
      const inHeader = one(headers[name]);
      checks.push({
        digest: await ALGORITHMS[algorithm]!.digest(),
        expected: inHeader === undefined ? undefined : checksumFrom(name, inHeader),
        trailer: inHeader === undefined ? name : undefined,
        wrong: () =>
          refuse(
            400,
            'BadDigest',
            `The ${algorithm.toUpperCase()} you specified did not match what we received.`,
          ),
      });
    }
    return new Checksums(checks);
  }

  get none(): boolean {
    return this.#checks.length === 0;
  }

  update(piece: Buffer): void {
    for (const { digest } of this.#checks) digest.update(piece);
  }

  /** All of the body has come. Throws S3Refused where a checksum is wrong, or has not come. */
  verify(trailers: ReadonlyMap<string, string> = new Map()): void {
    for (const { digest, expected, trailer, wrong } of this.#checks) {
      const due = expected ?? checksumFrom(trailer!, trailers.get(trailer!) ?? '');
      if (!digest.done().equals(due)) throw wrong();
    }
  }
}
