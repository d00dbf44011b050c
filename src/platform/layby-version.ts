// The version of Layby that runs, from its package.json.

import { readFileSync } from 'node:fs';

export const { version: laybyVersion } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string };
