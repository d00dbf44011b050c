import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { request } from 'undici';
import { tell, versionOf } from './seen.ts';

const put = async (url: string, body: Buffer | Readable): Promise<number> => {
  const answer = await request(url, { method: 'PUT', body });
  await answer.body.dump();
  return answer.statusCode;
};

await tell(versionOf('undici', 0), {
  Buffer: async (url, path) => put(url, await readFile(path)),
  stream: (url, path) => put(url, createReadStream(path)),
});
