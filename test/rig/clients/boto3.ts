// The app on boto3, in a process of its own.

import { fileURLToPath } from 'node:url';
import { BOTO3, python } from './python.ts';
import type { S3App } from './s3-app.ts';

const SCRIPT = fileURLToPath(new URL('app_on_boto3.py', import.meta.url));

export const boto3: S3App = {
  name: 'boto3',
  async run(endpoint, calls) {
    return JSON.parse(await python(BOTO3, SCRIPT, JSON.stringify({ endpoint, calls })));
  },
};
