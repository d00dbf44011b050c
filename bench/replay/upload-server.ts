// A destination in the cloud that takes resumable uploads: `upload-server.ts tus|ietf HOST PORT DIR`. What arrived whole is in DIR. Says `ready`.

import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { FileStore } from '@tus/file-store';
import { Server } from '@tus/server';
import { startIetfServer } from '../../test/rig/ietf-server.ts';

const [protocol = '', host = '', port = '', directory = ''] = process.argv.slice(2);
const listen = { host, port: Number(port) };
let arrived = 0;

if (protocol === 'ietf') {
  const onReceived = (body: Buffer) => void writeFile(join(directory, `${arrived++}.bin`), body);
  await startIetfServer({ listen, onReceived });
} else {
  const tus = new Server({ path: '/files', datastore: new FileStore({ directory }), relativeLocation: true });
  await new Promise<void>((resolve) => createServer(tus.handle.bind(tus)).listen(listen, resolve));
}
console.log('ready');
