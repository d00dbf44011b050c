// Builds the package: JavaScript, and the xDS descriptors, so that an installed Layby needs no Python for them.

import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = (...args: string[]) => execFileSync(args[0]!, args.slice(1), { cwd: root, stdio: 'inherit' });

rmSync(new URL('../dist', import.meta.url), { recursive: true, force: true });
run('tsc', '-p', 'tsconfig.build.json');
run(process.execPath, 'scripts/fetch-parts.ts', '--xds', 'dist/xds.binpb');
