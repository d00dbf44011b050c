// The webhook as the API server meets it: HTTPS and AdmissionReview, spoken by hand.

import { readFileSync } from 'node:fs';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { type Admission, serveAdmission } from '../../src/admission/server.ts';
import { injectReviewer } from '../../src/inject/review.ts';
import { DEFAULT_SETTINGS } from '../../src/inject/settings.ts';
import { logger } from '../../src/telemetry/log.ts';
import { writeCertificate } from '../rig/certificate.ts';
import { testdir } from '../rig/testdir.ts';

const dir = testdir(t);
await writeCertificate(dir);
const files = { certificate: join(dir, 'tls.crt'), key: join(dir, 'tls.key') };
const serve = (): Promise<Admission> =>
  serveAdmission({
    listen: { host: '127.0.0.1', port: 0 },
    ...files,
    reviewers: { '/inject': injectReviewer(DEFAULT_SETTINGS) },
    log: logger('webhook'),
    look: 100,
  });

const ask = async (
  admission: Admission,
  path: string,
  body?: string,
  ca = readFileSync(files.certificate),
) => {
  const { port } = admission.address as { port: number };
  const method = body === undefined ? 'GET' : 'POST';
  return new Promise<{ status: number; body: string }>((resolve, reject) => {
    request(
      { host: '127.0.0.1', port, path, method, ca, servername: 'localhost', agent: false },
      async (response) => {
        resolve({ status: response.statusCode!, body: await text(response) });
      },
    )
      .on('error', reject)
      .end(body);
  });
};

const review = (object: object): string =>
  JSON.stringify({
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: { uid: 'abc', operation: 'CREATE', namespace: 'apps', object },
  });

const spec = { containers: [{ name: 'app', image: 'x' }] };

t.test(
  'a pod is answered with a patch, one without a sidecar with a warning, a wrong one with why',
  async (t) => {
    const admission = await serve();
    t.teardown(() => admission.close());
    const asked = async (pod: object) => {
      const { status, body } = await ask(admission, '/inject', review(pod));
      t.equal(status, 200);
      const { response, ...frame } = JSON.parse(body);
      t.same(frame, { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' });
      return response;
    };
    const taken = await asked({ spec });
    t.match(taken, { uid: 'abc', allowed: true, patchType: 'JSONPatch' });
    const patch = JSON.parse(Buffer.from(taken.patch, 'base64').toString()) as { path: string }[];
    t.same(patch.map(({ path }) => path).sort(), ['/spec/initContainers', '/spec/volumes']);
    const left = await asked({ spec: { ...spec, hostNetwork: true } });
    t.match(left, { allowed: true, warnings: [/gets no sidecar/] });
    t.equal(left.patch, undefined);
    t.match(await asked({ metadata: { annotations: { 'layby.dev/capture': 'x' } }, spec }), {
      allowed: false,
      status: { code: 422, message: /layby: the annotation layby\.dev\/capture is "x": write iptables/ },
    });
  },
);

t.test('what is no review is refused, and nothing of it ends the server', async (t) => {
  const admission = await serve();
  t.teardown(() => admission.close());
  const status = async (path: string, body?: string) => (await ask(admission, path, body)).status;
  t.equal(await status('/inject', '{'), 400);
  t.equal(await status('/inject', 'null'), 400);
  t.equal(await status('/inject', '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}'), 400);
  t.equal(await status('/elsewhere', review({ spec })), 404);
  t.equal(await status('/constructor', review({ spec })), 404);
  t.equal(await status('/inject'), 404);
  t.equal(await status('/inject', 'x'.repeat(5_000_000)), 413);
  t.equal(await status('/healthz'), 200);
});

t.test('a certificate that is replaced is in use soon, without a restart', async (t) => {
  const admission = await serve();
  t.teardown(() => admission.close());
  const newer = join(dir, 'newer');
  await mkdir(newer, { recursive: true });
  await writeCertificate(newer);
  await copyFile(join(newer, 'tls.key'), files.key);
  await copyFile(join(newer, 'tls.crt'), files.certificate);
  for (;;) {
    const { status } = await ask(admission, '/healthz').catch(() => ({ status: 0 }));
    if (status === 200) break;
    await new Promise((done) => setTimeout(done, 100));
  }
});

t.test('a certificate that is none is said at the start', async (t) => {
  await writeFile(join(dir, 'bad.crt'), 'x');
  const bad = { ...files, certificate: join(dir, 'bad.crt') };
  const options = { listen: { host: '127.0.0.1', port: 0 }, ...bad, reviewers: {}, log: logger('webhook') };
  await t.rejects(serveAdmission(options), { code: 'LAYBY_IDENTITY_INVALID' });
});

t.test(
  'with a certificate in memory: it is replaced for new connections, and readiness is asked for',
  async (t) => {
    const pairOf = async (name: string) => {
      const at = join(dir, name);
      await mkdir(at, { recursive: true });
      const ca = await writeCertificate(at);
      return { ca, pair: { cert: ca, key: readFileSync(join(at, 'tls.key'), 'utf8') } };
    };
    const [one, two] = [await pairOf('one'), await pairOf('two')];
    let why: string | undefined = 'not yet';
    const admission = await serveAdmission({
      ...{ listen: { host: '127.0.0.1', port: 0 }, pair: one.pair, reviewers: {}, log: logger('webhook') },
      notReady: () => why,
    });
    t.teardown(() => admission.close());
    t.match(await ask(admission, '/readyz', undefined, Buffer.from(one.ca)), {
      status: 503,
      body: 'not yet\n',
    });
    why = undefined;
    t.match(await ask(admission, '/readyz', undefined, Buffer.from(one.ca)), { status: 200 });
    admission.replace(two.pair);
    t.match(await ask(admission, '/healthz', undefined, Buffer.from(two.ca)), { status: 200, body: 'ok\n' });
    await t.rejects(ask(admission, '/healthz', undefined, Buffer.from(one.ca)));
  },
);
