// CRC32C of a whole out of the CRC32Cs of its parts, so that S3 can be told the checksum of an object without reading it again.
// A CRC is a polynomial over GF(2): crc(A B) = crc(A) · x^(8·|B|) + crc(B), modulo the polynomial, bits reflected.

/** Castagnoli, reflected. */
const POLYNOMIAL = 0x82f63b78;
const ONE = 0x80000000;
const X_TO_8 = 0x00800000;

function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= shifted;
    shifted = shifted & 1 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1;
  }
  return product >>> 0;
}

function xTo8Times(bytes: number): number {
  let power = ONE;
  let square = X_TO_8;
  for (let left = bytes; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) power = multiply(square, power);
    square = multiply(square, square);
  }
  return power;
}

/** The CRC32C of A followed by B; `bytes`: the length of B. */
export const combine = (a: number, b: number, bytes: number): number =>
  (multiply(xTo8Times(bytes), a) ^ b) >>> 0;

/** As S3 writes it. */
export const base64Of = (crc: number): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
};
