// A real browser without a screen: what a page that it opens has become when its scripts and requests have ended.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { run } from './run.ts';

const found = ['chromium', 'chromium-browser', 'google-chrome'].flatMap((name) =>
  (process.env.PATH ?? '').split(delimiter).map((dir) => join(dir, name)),
);
const browser = found.find((path) => existsSync(path));

/** For tests: `{ skip: noBrowser }`. */
export const noBrowser = browser === undefined && 'there is no chromium on the PATH';

/** The DOM of a page, as HTML. `names` lead to 127.0.0.1, and no other name leads anywhere. `profile`: a directory of this browser's own. */
export const domOf = (url: string, { names, profile }: { names: string[]; profile: string }) =>
  run(
    [
      ...[
        browser!,
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--no-first-run',
      ],
      ...['--disable-background-networking', '--disable-component-update', `--user-data-dir=${profile}`],
      `--host-resolver-rules=${[...names.map((name) => `MAP ${name} 127.0.0.1`), 'EXCLUDE 127.0.0.1', 'MAP * ~NOTFOUND'].join(', ')}`,
      // Time stands still while a request is on its way.
      ...['--virtual-time-budget=10000', '--dump-dom', url],
    ],
    { timeout: 60_000 },
  );
