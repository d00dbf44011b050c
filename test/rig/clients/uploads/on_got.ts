import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import got from 'got';
import { tell, versionOf } from './seen.ts';

await tell(versionOf('got', 2), {
  Buffer: async (url, path) => (await got.put(url, { body: await readFile(path) })).statusCode,
  stream: async (url, path) => (await got.put(url, { body: createReadStream(path) })).statusCode,
});
