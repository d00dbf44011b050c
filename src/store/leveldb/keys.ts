// The keys of both kinds of database. A generation's keys come from one growing counter, so its tables never overlap and
// LevelDB has nothing to compact; the index is sorted by lane and position.

/** What a key of a generation holds. `opening`: the first seq that the generation may carry. `copied`: the record of
 *  an entry that was moved here from an older generation, or edited, so its seq is out of turn. */
export const KIND = { opening: 0, chunk: 1, entry: 2, copied: 3 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

export interface GenerationKey {
  counter: number;
  kind: Kind;
  /** Who wrote it: a chunk and the entry record that lists it agree on this number. 0 for an opening. */
  writer: number;
}

/** 8 bytes counter (big-endian), 1 byte kind, 6 bytes writer. The writer stands in the key so that opening a store can find
 *  abandoned bodies without reading a single chunk. */
export const encodeKey = (counter: number, kind: Kind, writer: number): Buffer => {
  const key = Buffer.allocUnsafe(15);
  key.writeUInt16BE(0, 0);
  key.writeUIntBE(counter, 2, 6);
  key[8] = kind;
  key.writeUIntBE(writer, 9, 6);
  return key;
};

/** undefined: nobody wrote it. No generation has room for more than 32 bits count. */
export const decodeKey = (key: Buffer): GenerationKey | undefined => {
  const kind = key[8];
  if (key.length !== 15 || kind === undefined || kind > KIND.copied || key.readUInt32BE(0) > 0)
    return undefined;
  return { counter: key.readUIntBE(2, 6), kind: kind as Kind, writer: key.readUIntBE(9, 6) };
};

const SEQ_DIGITS = 16; // of Number.MAX_SAFE_INTEGER
const digits = (n: number): string => String(n).padStart(SEQ_DIGITS, '0');

/** `/` cannot occur in an encoded destination and sorts just before `0`, which therefore ends the lane. */
export const laneKey = (destination: string, seq: number): string =>
  `l/${encodeURIComponent(destination)}/${digits(seq)}`;
export const laneEnd = (destination: string): string => `l/${encodeURIComponent(destination)}0`;

export const decodeLaneKey = (key: string): { destination: string; seq: number } => {
  const [, destination, seq] = key.split('/');
  return { destination: decodeURIComponent(destination!), seq: Number(seq) };
};

export const idKey = (id: string): string => `i/${id}`;
/** What all rows of a resource, given by its sum, begin with. */
export const rowsOf = (destination: string, sum: number): string =>
  `r/${encodeURIComponent(destination)}/${sum.toString(16).padStart(8, '0')}/`;
export const rowKey = (destination: string, sum: number, seq: number): string =>
  rowsOf(destination, sum) + digits(seq);
export const decodeRowKey = (key: string): { destination: string; sum: number; seq: number } => {
  const [, destination, sum, seq] = key.split('/');
  return { destination: decodeURIComponent(destination!), sum: Number.parseInt(sum!, 16), seq: Number(seq) };
};
export const seqOfRow = (key: string): number => Number(key.slice(key.lastIndexOf('/') + 1));
/** Sorted by the store's time at which a time to live is over. */
export const expiryKey = (at: number, seq: number): string => `t/${digits(at)}/${digits(seq)}`;
export const decodeExpiryKey = (key: string): number => Number(key.slice(2, 2 + SEQ_DIGITS));
export const auditKey = (line: number): string => `a/${digits(line)}`;
export const decodeAuditKey = (key: string): number => Number(key.slice(2));
export const progressKey = (id: string): string => `p/${id}`;
export const decodeProgressKey = (key: string): string => key.slice(2);
export const WATERMARK_KEY = 'm/watermark';

const SHAPES: Record<string, RegExp> = {
  a: /^a\/\d{16}$/,
  i: /^i\/[!-~]+$/,
  l: /^l\/[^/]+\/\d{16}$/,
  p: /^p\/[!-~]+$/,
  r: /^r\/[^/]+\/[\da-f]{8}\/\d{16}$/,
  t: /^t\/\d{16}\/\d{16}$/,
};

/** Whether it could have been written here: LevelDB does not check what it reads. Of a kind that is not known here every key is. */
export const isKey = (key: string): boolean => {
  const kind = key[0] ?? '';
  const shape = SHAPES[kind];
  if (!shape) return true;
  return shape.test(key) && ((kind !== 'l' && kind !== 'r') || hasDestination(key));
};

/** The kind and the destination of the last such key, with the slashes: keys are looked at in their order, so it is nearly always the
 *  same again. */
let lastLane = '//';

const hasDestination = (key: string): boolean => {
  if (key.startsWith(lastLane)) return true;
  const lane = key.slice(0, key.indexOf('/', 2) + 1);
  const encoded = lane.slice(2, -1);
  try {
    if (encodeURIComponent(decodeURIComponent(encoded)) !== encoded) return false;
  } catch {
    return false;
  }
  lastLane = lane;
  return true;
};
