// A destination that asks for a pause of centuries gets a day, on every way that a body can be sent, and no timer spins for it.

import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { startReplay } from './scene.ts';

t.setTimeout(60_000);

const DAY = 86_400_000;
const api = destinationOf('api');
const s3: Destination = {
  ...api,
  upstream: { url: 'http://api.example', sign: { aws: { service: 's3', region: 'r' } } },
};
const resumes = (resume: 'tus' | 'ietf'): Destination => ({ ...api, replay: { ...api.replay, resume } });

for (const [way, destination, method, bytes] of [
  ['one request', api, 'PUT', 10],
  ['S3', s3, 'PUT', 10],
  ['S3 in parts', s3, 'PUT', 80 * 1024 * 1024],
  ['tus', resumes('tus'), 'POST', 2 * 1024 * 1024],
  ['resumable uploads of the IETF', resumes('ietf'), 'PUT', 2 * 1024 * 1024],
] as const)
  t.test(`Retry-After is kept up to a day: ${way}`, async (t) => {
    const warnings: Error[] = [];
    const hear = (warning: Error): void => void warnings.push(warning);
    process.on('warning', hear);
    t.teardown(() => process.off('warning', hear));
    const scene = await startReplay(t, destination);
    scene.answer = (_, request, response) =>
      void request.resume().on('end', () => response.writeHead(503, { 'retry-after': '9999999999' }).end());
    const url = 'http://api.example/b/k';
    const { id } = await put(scene.store, Buffer.alloc(bytes), {
      ...{ destination: 'api', method, url, orderKey: 'k' },
    });
    const pause = async (): Promise<number> => {
      const entry = await scene.store.get(id);
      return entry?.state === 'stored' ? (scene.replay.view(entry)?.pause.ms ?? 0) : 0;
    };
    while ((await pause()) === 0) await new Promise(setImmediate);
    t.ok((await pause()) > DAY - 60_000 && (await pause()) <= DAY);
    for (let n = 0; n < 1_000; n++) await new Promise(setImmediate);
    t.equal(scene.asked.length, 1, 'it is not asked again meanwhile');
    t.same(warnings, []);
  });
