// The app on minio-go.

import { readFile } from 'node:fs/promises';
import { noGo } from '../go.ts';
import { run } from '../run.ts';
import { goClient } from './go-programs.ts';
import type { Result, S3App } from './s3-app.ts';

const MODULE = new URL('go/go.mod', import.meta.url);

export const minioGo: S3App = {
  name: 'minio-go',
  skip: noGo,
  ops: ['put', 'upload', 'head', 'get', 'list', 'delete'],
  version: async () => /minio-go\/v7 v(\S+)/.exec(await readFile(MODULE, 'utf8'))![1]!,
  async run({ wrap = [], ...endpoint }, calls) {
    const asked = JSON.stringify({ endpoint, calls });
    return JSON.parse(await run([...wrap, await goClient('minio'), asked], { timeout: 120_000 })) as Result[];
  },
};
