// Bodies for clients: text, since some send a string, with bytes that no careless client leaves alone.

import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';

export interface BodyFile {
  path: string;
  bytes: number;
  /** Lower-case hex. */
  sha256: string;
}

const AWKWARD = '\r\n\0 é あ 🚗 %2B+\n';

export const bodyFile = async (path: string, bytes: number): Promise<BodyFile> => {
  const random = randomBytes(bytes).toString('base64');
  const awkward = Buffer.from(AWKWARD);
  const content = Buffer.concat([awkward, Buffer.from(random)]).subarray(0, bytes - awkward.length);
  const whole = Buffer.concat([content, awkward]);
  await writeFile(path, whole);
  return { path, bytes: whole.length, sha256: createHash('sha256').update(whole).digest('hex') };
};
