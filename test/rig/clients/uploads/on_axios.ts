import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import axios from 'axios';
import { tell } from './seen.ts';

await tell(axios.VERSION, {
  Buffer: async (url, path) => (await axios.put(url, await readFile(path))).status,
  stream: async (url, path) => (await axios.put(url, createReadStream(path))).status,
});
