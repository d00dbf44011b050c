// Who shares what: sidecars that the policy does not tell apart have the same snapshots, those that it does have their own.

import t from 'tap';
import { Snapshots } from '../../src/control-plane/snapshots.ts';
import { loadXds } from '../../src/control-plane/xds/registry.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { destination } from '../policy/documents.ts';

const policy = (more = '') => parsePolicy([{ path: 'p.yaml', text: destination({ more }) }]);

const sidecar = (node: string, ...labels: string[]) => ({
  outbound: { host: '127.0.0.1', port: 15001 },
  trustedCa: '/ca.pem',
  discovery: 'aggregated' as const,
  app: { node, labels },
});

t.test('sidecars that listen elsewhere share all but their listeners', async (t) => {
  const snapshots = new Snapshots(await loadXds(), { unix: 'queue.sock' });
  const [here, there] = [15001, 15002].map((port) =>
    snapshots.lease({ ...sidecar('1'), outbound: { host: '127.0.0.1', port } }, '1'),
  );
  for (const patience of [9000, 9001]) {
    snapshots.setPolicy(policy(`answerTimeout: ${patience}ms`));
    for (const type of ['cluster', 'route'] as const) t.equal(there!.get(type), here!.get(type), type);
    t.not(there!.get('listener').version, here!.get('listener').version);
  }
});

t.test(
  'a rule for apps parts sidecars, and its end joins them again, on the leases that they have',
  async (t) => {
    const snapshots = new Snapshots(await loadXds(), { unix: 'queue.sock' });
    snapshots.setPolicy(policy());
    const [one, two, three] = [sidecar('1', 'team=video'), sidecar('2', 'team=video'), sidecar('3')].map(
      (each) => snapshots.lease(each, each.app.node),
    );
    const routes = () => [one, two, three].map((lease) => lease!.get('route'));
    const [first, ...others] = routes();
    for (const other of others) t.equal(other, first, 'one object for all');
    snapshots.setPolicy(policy('rules: [{match: {apps: {labels: [team=video]}}, store: {mode: never}}]'));
    const [video, also, plain] = routes();
    t.equal(also, video);
    t.not(plain!.version, video!.version);
    t.equal(one!.get('cluster').version, three!.get('cluster').version);
    const late = snapshots.lease(sidecar('4', 'team=video', 'tier=edge'), '4');
    t.equal(late.get('route'), video, 'who comes later shares it as well');
    for (const lease of [one, two, late]) snapshots.release(lease!);
    const again = snapshots.lease(sidecar('5', 'team=video'), '5');
    t.equal(again.get('route').version, video!.version, 'made anew once nobody had it');
    snapshots.setPolicy(policy());
    t.equal(again.get('route'), three!.get('route'));
  },
);
