// The body of an upload as the object will have it: taken out of its aws-chunked framing, its checksums verified, and with
// the headers that go with it when the framing is gone.

import type { IncomingMessage } from 'node:http';
import { type BodyOf, type OnChunk, type ReadBody, readBody } from '../read-body.ts';
import { refuse } from './answer.ts';
import { AwsChunked, malformedTrailer } from './aws-chunked.ts';
import { CHECKSUM, Checksums } from './checksums.ts';

export interface Payload {
  /** Its length, bytes, where the app said it. */
  expected: number | undefined;
  /** A checksum comes behind the body, where S3 takes none of a body that is not framed. */
  checksumBehind: boolean;
  /** The headers to be stored; complete when `read` has resolved. */
  headers: string[];
  /** Calls `onChunk` for each chunk. The last one only when everything is verified, so that what is passed on is never whole at
   *  the other side where it is wrong. Rejects with S3Refused, ClientDisconnected, or what `onChunk` rejected with. */
  read: ReadBody;
}

/** A signature over the frames is none over the payload. */
const FRAMING = new Set(['x-amz-decoded-content-length', 'x-amz-trailer', 'authorization']);
/** Names a checksum that must then be there, in front of the body or behind it. */
const ALGORITHM = 'x-amz-sdk-checksum-algorithm';

const TOKEN = 'aws-chunked';
const tokens = (value: string): string[] =>
  value
    .split(',')
    .map((token) => token.trim())
    .filter((token) => token !== '');

/** The token alone says nothing: S3 takes it off, and the body as it is. */
export const isFramed = ({ headers }: IncomingMessage): boolean =>
  String(headers['x-amz-content-sha256'] ?? '').startsWith('STREAMING-') ||
  ('x-amz-decoded-content-length' in headers && isToken(headers['content-encoding'] ?? ''));

const isToken = (encoding: string): boolean => withoutToken(encoding) !== encoding;

/** `content-encoding` without what says that the body is framed. */
const withoutToken = (encoding: string): string => {
  const all = tokens(encoding);
  const left = all.filter((token) => token.toLowerCase() !== TOKEN);
  return left.length < all.length ? left.join(', ') : encoding;
};

export interface PayloadOptions {
  /** The end-to-end headers. */
  kept: string[];
  /** Body length, bytes, where the app said it. */
  length: number | undefined;
  /** Its `x-amz-checksum-…` headers are not of this body. */
  ofAnother?: boolean;
}

/** Rejects with S3Refused. */
export const payloadOf = async (
  client: BodyOf,
  { kept, length, ofAnother = false }: PayloadOptions,
): Promise<Payload> => {
  const { request } = client;
  if (isFramed(request)) return framed(client, kept);
  const { 'content-md5': md5, 'x-amz-content-sha256': sha256 } = request.headers;
  const given = ofAnother
    ? {
        ...(md5 !== undefined && { 'content-md5': md5 }),
        ...(sha256 !== undefined && { 'x-amz-content-sha256': sha256 }),
      }
    : request.headers;
  const checksums = await Checksums.of(given);
  return {
    expected: length,
    checksumBehind: false,
    headers: withoutTokens(kept),
    read: checksums.none
      ? (onChunk) => readBody(client, onChunk)
      : async (onChunk) => {
          const last = new LastPiece(onChunk);
          await readBody(client, (piece) => {
            checksums.update(piece);
            return last.push(piece);
          });
          checksums.verify();
          await last.flush();
        },
  };
};

/** A body that is read into memory: a list, never an object. Rejects with S3Refused where it has more than `limit` bytes. */
export const wholeBody = async ({ read }: Payload, limit: number): Promise<Buffer> => {
  const pieces: Buffer[] = [];
  let bytes = 0;
  await read((piece) => {
    bytes += piece.length;
    if (bytes > limit)
      return Promise.reject(
        refuse(400, 'EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size'),
      );
    pieces.push(piece);
    return undefined;
  });
  return Buffer.concat(pieces);
};

const framed = async (client: BodyOf, kept: string[]): Promise<Payload> => {
  const { headers } = client.request;
  const announced = tokens(String(headers['x-amz-trailer'] ?? '')).map((name) => name.toLowerCase());
  const checksums = await Checksums.of(headers, announced);
  const expected = decodedLength(headers['x-amz-decoded-content-length']);
  const checksumBehind = announced.some((name) => CHECKSUM.test(name));
  const { unframed, aside } = withoutFraming(kept, checksumBehind);
  return {
    expected,
    checksumBehind,
    headers: unframed,
    async read(onChunk) {
      const frames = new AwsChunked();
      const last = new LastPiece(onChunk);
      let bytes = 0;
      await readBody(client, (piece) =>
        inTurn(frames.take(piece), (payload) => {
          bytes += payload.length;
          if (expected !== undefined && bytes > expected) throw wrongLength();
          checksums.update(payload);
          return last.push(payload);
        }),
      );
      const trailers = frames.end();
      if (expected !== undefined && bytes !== expected) throw wrongLength();
      trailers.delete('x-amz-trailer-signature');
      if (trailers.size !== announced.length || !announced.every((name) => trailers.has(name)))
        throw malformedTrailer();
      checksums.verify(trailers);
      await last.flush();
      unframed.push(...aside, ...[...trailers].flat());
    },
  };
};

const wrongLength = () =>
  refuse(
    400,
    'IncompleteBody',
    'You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header.',
  );

const decodedLength = (value: string | string[] | undefined): number | undefined => {
  if (value === undefined) return undefined;
  if (typeof value === 'string' && /^\d{1,15}$/.test(value)) return Number(value);
  throw refuse(400, 'InvalidArgument', 'x-amz-decoded-content-length is not a number of bytes.');
};

const withoutTokens = (kept: readonly string[]): string[] =>
  kept.flatMap((name, at) => {
    if (at % 2 === 1) return [];
    const value = kept[at + 1]!;
    const left = name.toLowerCase() === 'content-encoding' ? withoutToken(value) : value;
    return left === '' && value !== '' ? [] : [name, left];
  });

/** `aside`: what is true of the object, and would be refused in front of a body whose checksum S3 cannot see. */
const withoutFraming = (
  kept: readonly string[],
  checksumBehind: boolean,
): { unframed: string[]; aside: string[] } => {
  const unframed: string[] = [];
  const aside: string[] = [];
  for (let i = 0; i < kept.length; i += 2) {
    const name = kept[i]!;
    const lower = name.toLowerCase();
    if (FRAMING.has(lower)) continue;
    if (lower === 'x-amz-content-sha256') unframed.push(name, 'UNSIGNED-PAYLOAD');
    else if (lower === 'content-encoding') {
      const left = withoutToken(kept[i + 1]!);
      if (left !== '') unframed.push(name, left);
    } else if (checksumBehind && lower === ALGORITHM) {
      aside.push(name, kept[i + 1]!);
    } else {
      unframed.push(name, kept[i + 1]!);
    }
  }
  return { unframed, aside };
};

/** Holds one piece back. */
class LastPiece {
  readonly #onChunk: OnChunk;
  #held: Buffer | undefined;

  constructor(onChunk: OnChunk) {
    this.#onChunk = onChunk;
  }

  push(piece: Buffer): Promise<unknown> | undefined {
    const before = this.#held;
    this.#held = piece;
    return before && this.#onChunk(before);
  }

  async flush(): Promise<void> {
    if (this.#held) await this.#onChunk(this.#held);
  }
}

/** Takes piece by piece, waiting only where it is asked to. Rejects with what was thrown. */
const inTurn = (pieces: Iterator<Buffer>, onChunk: OnChunk): Promise<unknown> | undefined => {
  try {
    for (let next = pieces.next(); !next.done; next = pieces.next()) {
      const taken = onChunk(next.value);
      if (taken) return taken.then(() => inTurn(pieces, onChunk));
    }
    return undefined;
  } catch (error) {
    return Promise.reject(error);
  }
};
