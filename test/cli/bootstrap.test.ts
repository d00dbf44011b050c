import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);

t.test(
  "a bootstrap has no admin listener of Envoy's that a web page could reach, unless it is asked for",
  async (t) => {
    const bootstrap = async (...args: string[]) => {
      const command = ['bin/layby.js', 'bootstrap', 'camera', '--xds', 'unix:/run/xds.sock', ...args];
      return JSON.parse((await run(process.execPath, command)).stdout) as { admin?: unknown };
    };
    t.equal((await bootstrap()).admin, undefined);
    t.same((await bootstrap('--admin', 'unix:/run/admin.sock')).admin, {
      address: { pipe: { path: '/run/admin.sock' } },
    });
  },
);
