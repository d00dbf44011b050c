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

export const decodeKey = (key: Buffer): GenerationKey | undefined => {
  const kind = key[8];
  if (key.length !== 15 || kind === undefined || kind > KIND.copied) return undefined;
  return { counter: key.readUIntBE(2, 6), kind: kind as Kind, writer: key.readUIntBE(9, 6) };
};

const SEQ_DIGITS = 16; // of Number.MAX_SAFE_INTEGER
export const digits = (n: number): string => String(n).padStart(SEQ_DIGITS, '0');

/** `/` cannot occur in an encoded destination and sorts just before `0`, which therefore ends the lane. */
export const laneKey = (destination: string, seq: number): string =>
  `l/${encodeURIComponent(destination)}/${digits(seq)}`;
export const laneEnd = (destination: string): string => `l/${encodeURIComponent(destination)}0`;

export const decodeLaneKey = (key: string): { destination: string; seq: number } | undefined => {
  const parts = key.split('/');
  const seq = Number(parts[2]);
  if (parts.length !== 3 || parts[1] === undefined || !Number.isSafeInteger(seq)) return undefined;
  try {
    return { destination: decodeURIComponent(parts[1]), seq };
  } catch {
    return undefined;
  }
};

export const idKey = (id: string): string => `i/${id}`;
/** Sorted by the store's time at which a time to live is over. */
export const expiryKey = (at: number, seq: number): string => `t/${digits(at)}/${digits(seq)}`;
export const decodeExpiryKey = (key: string): number => Number(key.slice(2, 2 + SEQ_DIGITS));
export const auditKey = (line: number): string => `a/${digits(line)}`;
export const decodeAuditKey = (key: string): number => Number(key.slice(2));
export const progressKey = (id: string): string => `p/${id}`;
export const decodeProgressKey = (key: string): string => key.slice(2);
export const WATERMARK_KEY = 'm/watermark';
