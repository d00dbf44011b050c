import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { tell } from './seen.ts';

await tell(process.version, {
  stream: async (url, path) => {
    const sending = request(url, { method: 'PUT' });
    const answered = once(sending, 'response') as Promise<[IncomingMessage]>;
    const [[answer]] = await Promise.all([answered, pipeline(createReadStream(path), sending)]);
    answer.resume();
    return answer.statusCode ?? 0;
  },
});
