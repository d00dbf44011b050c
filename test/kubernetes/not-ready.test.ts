// What the API server answers while it cannot answer yet: a real one that is killed and started again, and a small server with any status
// and Retry-After.

import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { kubeconfigAccess } from '../../src/policy/sources/kubernetes/access.ts';
import { Api, type KubernetesError } from '../../src/policy/sources/kubernetes/api.ts';
import { pathOf } from '../../src/policy/sources/kubernetes/names.ts';
import { policyObject } from '../../src/policy/sources/kubernetes/objects.ts';
import { Reflector } from '../../src/policy/sources/kubernetes/reflector.ts';
import { refusalOf, STARTING_MS } from '../../src/policy/sources/kubernetes/refusal.ts';
import type { LaybyError } from '../../src/telemetry/error.ts';
import { noKubernetes } from '../rig/kubernetes/cluster.ts';
import { testdir } from '../rig/testdir.ts';
import { apply, document, policyCluster } from './mesh.ts';

t.setTimeout(180_000);

const LIST = '/apis/layby.dev/v1alpha1/destinations';

t.test('each status means something to do, or a server that will answer', async (t) => {
  const of = (status: number, lasting?: number, retryAfter?: string) =>
    refusalOf({
      ...{ status, text: JSON.stringify({ message: 'so it is' }) },
      ...(lasting !== undefined && { lasting }),
      ...(retryAfter !== undefined && { retryAfter }),
    });
  for (const status of [429, 500, 502, 503, 504]) {
    const error = of(status, 0, '7');
    t.match(error, { code: 'LAYBY_KUBERNETES_NOT_READY', remedy: 'it is tried again', retryAfter: 7_000 });
    t.equal(
      error.message,
      `the API server is starting or has too much to do, and answers ${status}: so it is`,
    );
    t.equal(of(status, 10 * STARTING_MS).code, 'LAYBY_KUBERNETES_NOT_READY');
  }
  for (const [status, remedy] of [
    [401, /token or certificate/],
    [403, /give the service account what docs\/kubernetes.md lists/],
  ] as const) {
    t.match(of(status, STARTING_MS - 1), {
      code: 'LAYBY_KUBERNETES_NOT_READY',
      message: `the API server may be starting, and answers ${status}: so it is`,
      remedy: /^it is tried again; where this goes on, /,
    });
    t.match(of(status, STARTING_MS), { code: 'LAYBY_KUBERNETES_REFUSED', remedy });
    t.match(of(status), { code: 'LAYBY_KUBERNETES_REFUSED', remedy });
  }
  t.match(of(404, 0), { code: 'LAYBY_KUBERNETES_REFUSED', remedy: /install the custom resources/ });
  for (const status of [400, 405, 406, 409, 410, 413, 415, 422])
    t.match(of(status, 0), { code: 'LAYBY_KUBERNETES_REFUSED', remedy: 'it is tried again' });
  t.equal(of(429, 0, '86400').retryAfter, 300_000, 'bounded');
  for (const odd of ['', '-1', '1.5', 'soon', 'Mon, 30 Nov 2026 07:00:00 GMT'])
    t.equal(of(429, 0, odd).retryAfter, 0, odd);
});

/** A server whose lists are answered by `answers`, one after another, the last for ever; no watch ends. */
const server = async (t: Test, answers: ((response: ServerResponse) => void)[]) => {
  const asked: number[] = [];
  const http = createServer((request, response) => {
    if (request.url?.includes('watch=1')) {
      response.flushHeaders();
      return;
    }
    asked.push(performance.now());
    answers[Math.min(asked.length, answers.length) - 1]!(response);
  });
  await new Promise<void>((resolve) => {
    http.listen(0, '127.0.0.1', resolve);
  });
  const { port } = http.address() as AddressInfo;
  const api = new Api(async () => ({ server: `http://127.0.0.1:${port}`, token: async () => '' }), {
    starting: 300,
  });
  t.teardown(async () => {
    await api.close();
    http.closeAllConnections();
    http.close();
  });
  return { api, asked };
};

const says =
  (status: number, headers: Record<string, string> = {}) =>
  (response: ServerResponse) => {
    response.writeHead(status, headers);
    response.end(JSON.stringify({ message: 'storage is (re)initializing' }));
  };
const empty = (response: ServerResponse) =>
  response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items: [] }));

t.test('Retry-After is heeded, and no longer than the longest pause', async (t) => {
  for (const [retryAfter, longestPause, least, most] of [
    ['1', 60_000, 1_000, 1_500],
    ['3600', 400, 400, 900],
  ] as const) {
    const { api, asked } = await server(t, [says(429, { 'retry-after': retryAfter }), empty]);
    const problems: LaybyError[] = [];
    let over = () => {};
    const synced = new Promise<void>((resolve) => {
      over = resolve;
    });
    const reflector = new Reflector(api, {
      path: LIST,
      lean: (raw) => policyObject('Destination', raw),
      ...{ shortestPause: 100, longestPause },
      onChange: () => {},
      onProblem: (problem) => {
        if (problem) problems.push(problem);
        else over();
      },
    });
    void reflector.run();
    await synced;
    reflector.close();
    const waited = asked[1]! - asked[0]!;
    t.ok(waited >= least && waited < most, `${retryAfter} s: asked again after ${waited} ms`);
    t.same(
      problems.map(({ code }) => code),
      ['LAYBY_KUBERNETES_NOT_READY'],
    );
  }
});

t.test('a 403 that lasts is for want of rights, whatever else is answered', async (t) => {
  const { api } = await server(t, [says(403)]);
  const codeOf = (path: string) =>
    api.get(path).then(
      () => 'none',
      ({ code }: KubernetesError) => code,
    );
  t.equal(await codeOf(`${LIST}?limit=500`), 'LAYBY_KUBERNETES_NOT_READY');
  await new Promise((resolve) => setTimeout(resolve, 350));
  t.equal(await codeOf('/apis/other'), 'LAYBY_KUBERNETES_NOT_READY', 'it is counted for each');
  t.equal(await codeOf(`${LIST}?limit=500&continue=x`), 'LAYBY_KUBERNETES_REFUSED');
});

t.test('a good answer in between begins it anew', async (t) => {
  const { api } = await server(t, [says(403), says(429), empty, says(403)]);
  const codeOf = () =>
    api.get(LIST).then(
      () => 'none',
      ({ code }: KubernetesError) => code,
    );
  const codes = [await codeOf()];
  await new Promise((resolve) => setTimeout(resolve, 350));
  for (let i = 0; i < 3; i++) codes.push(await codeOf());
  t.same(codes, [
    ...['LAYBY_KUBERNETES_NOT_READY', 'LAYBY_KUBERNETES_NOT_READY'],
    ...['none', 'LAYBY_KUBERNETES_NOT_READY'],
  ]);
});

t.test(
  'a real API server that is started again is not to be given rights',
  { skip: noKubernetes },
  async (t) => {
    const { cluster, kubeconfig } = await policyCluster(t, testdir(t));
    await apply(cluster, document('a', 'http://127.0.0.1:9'));
    const api = new Api(() => kubeconfigAccess(kubeconfig));
    t.teardown(() => api.close());
    const answers = new Map<string, number>();
    for (let round = 0; round < 3; round++) {
      await cluster.apiServer.kill9();
      const started = cluster.apiServer.start();
      for (let code = ''; code !== 'none'; ) {
        const error = await api.get(pathOf('Destination', undefined)).then(
          () => undefined,
          (thrown: KubernetesError) => thrown,
        );
        code = error?.code ?? 'none';
        const text = `${code} ${error?.status ?? 200} ${error?.status ? error.message : ''}`;
        answers.set(text, (answers.get(text) ?? 0) + 1);
        t.not(code, 'LAYBY_KUBERNETES_REFUSED', text);
        if (error) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await started;
    }
    for (const [text, count] of answers) t.comment(`${count} × ${text}`);
  },
);
