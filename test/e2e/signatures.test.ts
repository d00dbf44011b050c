// Whatever an app writes into headers and query, what leaves has a signature that the strictest reader of it takes, and means the same.

import { createServer, type IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { startLayby } from '../rig/layby.ts';
import { shapesFor } from '../rig/signed-requests.ts';
import { signatureFault } from '../rig/sigv4.ts';
import { testdir } from '../rig/testdir.ts';
import { untilSidecar } from './scene.ts';
import { KEYS, SIGNED_WAYS, signingFaults, startSigned } from './signatures.ts';

t.setTimeout(240_000);

t.test('every shape of header and query is signed as it is verified, by every way', async (t) => {
  const signed = await startSigned(t);
  for (const way of SIGNED_WAYS)
    t.same(await signingFaults(signed, way, shapesFor(way.service)), [], way.host);
});

t.test('to an upstream of HTTP/2 goes no header that is empty and has to be signed', async (t) => {
  const dir = testdir(t);
  const seen: { headers: IncomingHttpHeaders; fault: string | undefined }[] = [];
  const server = createServer(({ rawHeaders, headers, method, url }, response) => {
    const asked = rawHeaders.map((name) => (name === ':authority' ? 'host' : name));
    seen.push({
      headers,
      fault: signatureFault({ method, url, rawHeaders: asked, body: Buffer.alloc(0) }, KEYS),
    });
    response.end();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const policy = (['s3', 'execute-api'] as const).map((service) =>
    JSON.stringify({
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Destination',
      metadata: { name: service },
      spec: {
        hosts: [`${service}.example`],
        upstream: { url, protocol: 'http2', sign: { aws: { service, region: 'us-east-1' } } },
      },
    }),
  );
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policy.join('\n---\n'),
    env: { AWS_ACCESS_KEY_ID: KEYS.id, AWS_SECRET_ACCESS_KEY: KEYS.secret },
  });
  t.teardown(() => layby.kill9('all'));
  await untilSidecar(layby);
  const headers = ['x-amz-meta-a;', 'x-amz-meta-b: a\tb', 'x-custom;', 'content-type;'];
  for (const service of ['s3', 'execute-api'])
    t.equal(
      (await curl(`http://${service}.example/b/k`, { via: layby.outbound, headers })).status,
      200,
      service,
    );
  for (const { headers, fault } of seen) {
    t.equal(fault, undefined);
    t.match(headers, { 'x-amz-meta-b': 'a b', 'x-custom': '' });
  }
  t.notMatch(seen[0]!.headers, { 'x-amz-meta-a': '' }, 'S3 would refuse it unsigned');
  t.match(seen[1]!.headers, { 'x-amz-meta-a': '' }, 'others take it');
});
