import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { tell } from './seen.ts';

const put = async (url: string, body: string | Buffer<ArrayBuffer> | Blob): Promise<number> =>
  (await fetch(url, { method: 'PUT', body })).status;

await tell(process.version, {
  string: async (url, path) => put(url, await readFile(path, 'utf8')),
  Buffer: async (url, path) => put(url, await readFile(path)),
  Blob: async (url, path) => put(url, new Blob([await readFile(path)])),
  stream: async (url, path) => {
    const body = Readable.toWeb(createReadStream(path)) as ReadableStream;
    return (await fetch(url, { method: 'PUT', body, duplex: 'half' })).status;
  },
});
