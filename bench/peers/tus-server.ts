// The tus node server as its documentation starts it: `tus-server.ts PACKAGES FILES PORT`. It lives in the cache and is no
// dependency, so it is looked up there.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

interface Tus {
  Server: new (options: {
    path: string;
    datastore: object;
  }) => {
    listen(options: { host: string; port: number }): void;
  };
  FileStore: new (options: { directory: string }) => object;
}

const [packages = '', directory = '', port = ''] = process.argv.slice(2);
const { resolve } = createRequire(join(packages, 'package.json'));
const load = (name: string): Promise<Tus> => import(pathToFileURL(resolve(name)).href);
const { Server } = await load('@tus/server');
const { FileStore } = await load('@tus/file-store');
new Server({ path: '/files', datastore: new FileStore({ directory }) }).listen({
  host: '127.0.0.1',
  port: Number(port),
});
