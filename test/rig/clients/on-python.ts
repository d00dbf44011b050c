// The apps on S3 clients for Python, each in a process of its own.

import { fileURLToPath } from 'node:url';
import { noPython, PYTHON_CLIENTS, python } from './python.ts';
import type { S3App } from './s3-app.ts';

const onPython = (name: string): S3App => ({
  name,
  skip: noPython,
  version: async () => PYTHON_CLIENTS.find((pin) => pin.startsWith(`${name}==`))!.slice(name.length + 2),
  async run({ wrap = [], ...endpoint }, calls) {
    const script = fileURLToPath(new URL(`app_on_${name}.py`, import.meta.url));
    return JSON.parse(await python(PYTHON_CLIENTS, script, JSON.stringify({ endpoint, calls }), { wrap }));
  },
});

export const boto3: S3App = onPython('boto3');

export const minioPy: S3App = {
  ...onPython('minio'),
  name: 'minio-py',
  ops: ['put', 'upload', 'head', 'get', 'list', 'delete'],
};
