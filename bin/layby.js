#!/usr/bin/env node
// Starts Layby: the built program where there is one, else the source, on a Node that is new enough.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

const NEEDS = [22, 19];
const [major, minor] = process.versions.node.split('.').map(Number);

/** A Node that npm installed beside Layby (its optional dependency `node`). */
function bundledNode() {
  try {
    const require = createRequire(import.meta.url);
    const path = fileURLToPath(new URL('./bin/node', pathToFileURL(require.resolve('node/package.json'))));
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Who kills me kills Layby: on Linux with util-linux the kernel sees to it, however I end. */
function withMe() {
  const guard = ['setpriv', '--pdeathsig', 'KILL', '--'];
  return spawnSync(guard[0], [...guard.slice(1), 'true']).status === 0 ? guard : [];
}

if (major > NEEDS[0] || (major === NEEDS[0] && minor >= NEEDS[1])) {
  const source = new URL('../src/cli/main.ts', import.meta.url);
  const built = new URL('../dist/cli/main.js', import.meta.url);
  await import(existsSync(source) ? source : built);
} else {
  const node = bundledNode();
  if (!node) {
    console.error(
      `layby: this is Node ${process.versions.node}: Layby needs ${NEEDS.join('.')} or newer; install one, or npm install node@24 beside Layby`,
    );
    process.exit(1);
  }
  const command = [...withMe(), node, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(command[0], command.slice(1), {
    stdio: 'inherit',
    // What ends with npm (src/cli/until-signal.ts) sees me as its parent.
    env: { ...process.env, LAYBY_LAUNCHED: '1' },
  });
  // A terminal sends Ctrl-C to both; what comes by kill is passed on.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    // It says itself why it ends, where it can.
    if (signal) console.error(`layby: ended by ${signal}`);
    process.exit(code ?? 1);
  });
  // A terminal that has gone takes no words.
  process.stderr.on('error', () => {});
}
