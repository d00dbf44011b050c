// What ListObjects or ListObjectsV2 asks for, and where in the order of names a page begins. A pure reading of the query.

import { TOKEN_PREFIX } from '../../wire/names.ts';
import { refuse } from './answer.ts';
import type { S3Request } from './operation.ts';

/** As S3 has it, for a page and for what a client may ask for. */
export const MOST_KEYS = 1000;

/** Everything up to here has been listed. */
export interface Position {
  /** A key, or a common prefix; '' at the beginning. */
  name: string;
  /** It is a common prefix: what begins with it has been listed too. */
  isPrefix: boolean;
}

export interface ListQuery {
  version: 1 | 2;
  bucket: string;
  prefix: string;
  /** '' where there is none. */
  delimiter: string;
  limit: number;
  /** undefined: the token is of the bucket, and only the bucket knows where it points to. */
  after: Position | undefined;
  /** What the client said of it, to be repeated to it. */
  token: string | undefined;
  start: string | undefined;
  /** Names are percent-encoded in the answer. */
  isEncoded: boolean;
  withOwner: boolean;
}

/** Where a key ends up in a listing: itself, or the common prefix that it has. */
export const rolledUp = (
  key: string,
  { prefix, delimiter }: Pick<ListQuery, 'prefix' | 'delimiter'>,
): Position => {
  const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
  return at < 0
    ? { name: key, isPrefix: false }
    : { name: key.slice(0, at + delimiter.length), isPrefix: true };
};

export const isListed = (key: string, sort: Buffer, { name, isPrefix }: Position): boolean =>
  name !== '' && (Buffer.compare(sort, Buffer.from(name)) <= 0 || (isPrefix && key.startsWith(name)));

export const tokenOf = ({ name, isPrefix }: Position): string =>
  TOKEN_PREFIX + Buffer.from(`${isPrefix ? 'p' : 'k'}${name}`).toString('base64url');

export const isOwnToken = (token: string | undefined): token is string =>
  token?.startsWith(TOKEN_PREFIX) === true;

const positionIn = (token: string): Position => {
  const text = Buffer.from(token.slice(TOKEN_PREFIX.length), 'base64url').toString();
  if (!/^[kp]/.test(text))
    throw refuse(400, 'InvalidArgument', 'The continuation token provided is incorrect');
  return { name: text.slice(1), isPrefix: text.startsWith('p') };
};

const limitOf = (text: string | undefined): number => {
  if (text === undefined || text === '') return MOST_KEYS;
  if (!/^\d{1,10}$/.test(text))
    throw refuse(400, 'InvalidArgument', 'Provided max-keys not an integer or within integer range');
  return Math.min(MOST_KEYS, Number(text));
};

/** Throws S3Refused. */
export const listQueryOf = ({ operation, bucket, query }: S3Request): ListQuery => {
  const version = operation === 'ListObjectsV2' ? 2 : 1;
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const start = query.get(version === 2 ? 'start-after' : 'marker');
  const token = version === 2 ? query.get('continuation-token') || undefined : undefined;
  return {
    ...{ version, bucket, prefix, delimiter, start, token },
    limit: limitOf(query.get('max-keys')),
    after: isOwnToken(token)
      ? positionIn(token)
      : token === undefined
        ? startOf(start ?? '', { prefix, delimiter })
        : undefined,
    isEncoded: query.get('encoding-type') === 'url',
    withOwner: version === 1 || query.get('fetch-owner') === 'true',
  };
};

/** A common prefix of this very listing stands for all that has it: version 1 goes on behind one. */
const startOf = (start: string, folding: Pick<ListQuery, 'prefix' | 'delimiter'>): Position => {
  const { name, isPrefix } = rolledUp(start, folding);
  return { name: start, isPrefix: isPrefix && name === start && start.startsWith(folding.prefix) };
};
