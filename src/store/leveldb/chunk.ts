// One chunk of a body as a generation holds it: 4 bytes CRC32C, then the bytes. LevelDB does not check its own sums on
// reads (a flipped byte comes back as good bytes), so each chunk carries one. The writer's number seeds the sum: a chunk
// that turns up in another entry's place does not pass either.

import { crc32c } from '@node-rs/crc32';
import type { MemoryBudget } from './memory-budget.ts';

const HEADER = 4;
/** The largest payload of a chunk, bytes. */
export const CHUNK_BYTES = 256 * 1024;

/** Copies `bytes` bytes from the front of `pieces` into a value out of `memory`; what was taken leaves `pieces`, and goes to `done`. */
export const encodeChunk = (
  memory: MemoryBudget,
  writer: number,
  pieces: Buffer[],
  bytes: number,
  done?: (piece: Buffer) => void,
): Buffer => {
  const value = memory.buffer(HEADER + bytes);
  let at = HEADER;
  let taken = 0;
  while (at < value.length) {
    const piece = pieces[taken]!;
    const copied = piece.copy(value, at);
    at += copied;
    if (copied === piece.length) taken++;
    else pieces[taken] = piece.subarray(copied);
  }
  const whole = pieces.splice(0, taken);
  if (done) whole.forEach(done);
  value.writeUInt32LE(crc32c(value.subarray(HEADER), writer >>> 0), 0);
  return value;
};

export const payloadOf = (value: Buffer): Buffer => value.subarray(HEADER);

/** The payload, or in words what is wrong with it. */
export const decodeChunk = (writer: number, value: Buffer | undefined, bytes: number): Buffer | string => {
  if (value === undefined) return 'a chunk is missing';
  if (value.length === 0) return 'a chunk cannot be decrypted: it, or its key, is damaged';
  if (value.length !== HEADER + bytes)
    return `a chunk has ${value.length - HEADER} bytes instead of ${bytes}`;
  const payload = payloadOf(value);
  return crc32c(payload, writer >>> 0) === value.readUInt32LE(0)
    ? payload
    : 'the CRC32C of a chunk does not match';
};
