// A part that is busy for a moment refuses nobody: who connects meanwhile waits.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { listen } from '../../src/wire/http.ts';

const CONNECTIONS = 1000;
const BOUND = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));

/** Connects so often, and says how often that went well. */
const CLIENT = `
  const { connect } = require('node:net');
  let [tried, taken] = [0, 0];
  const sockets = [];
  const seen = () => { tried += 1; if (tried === ${CONNECTIONS}) { console.log(taken); process.exit(); } };
  for (let n = 0; n < ${CONNECTIONS}; n += 1)
    sockets.push(connect(process.argv[1]).once('connect', () => { taken += 1; seen(); }).once('error', seen));
`;

t.test(
  'a thousand connections wait while nobody takes them',
  { skip: BOUND < CONNECTIONS && `net.core.somaxconn is ${BOUND}` },
  async (t) => {
    // Sockets have short names.
    const dir = mkdtempSync(join(tmpdir(), 'layby-'));
    t.teardown(() => rmSync(dir, { recursive: true }));
    const path = join(dir, 's');
    const server = createServer();
    await listen(server, { unix: path });
    t.teardown(() => server.close());
    // This thread is busy until the other process has ended.
    const { stdout } = spawnSync(process.execPath, ['-e', CLIENT, path], { encoding: 'utf8' });
    t.equal(Number(stdout), CONNECTIONS);
  },
);
