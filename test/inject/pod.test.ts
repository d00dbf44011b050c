import t from 'tap';
import { CAPTURE_CONTAINER, SIDECAR_CONTAINER } from '../../src/inject/names.ts';
import { injectPod, patchOf } from '../../src/inject/pod.ts';
import type { Pod } from '../../src/inject/pod-object.ts';
import { settingsOf } from '../../src/inject/read-settings.ts';
import { DEFAULT_SETTINGS as settings } from '../../src/inject/settings.ts';
import type { LaybyError } from '../../src/telemetry/error.ts';

const pod = (annotations: Record<string, string> = {}, spec: Pod['spec'] = {}): Pod => ({
  metadata: { labels: { app: 'camera' }, annotations },
  spec: {
    containers: [{ name: 'app', image: 'camera:1', env: [{ name: 'no_proxy', value: 'mine' }] }],
    initContainers: [{ name: 'migrate', image: 'camera:1' }],
    ...spec,
  },
});

const inject = (of: Pod) => injectPod(of, 'apps', settings);
const container = (of: Pod, name: string) => of.spec!.initContainers!.find((each) => each.name === name);

/** Code, message and remedy. */
const refusalOf = (act: () => unknown): string => {
  try {
    act();
    return 'it was taken';
  } catch (error) {
    return `${(error as LaybyError).code} ${(error as LaybyError).line}`;
  }
};

const refusal = (of: Pod): string => refusalOf(() => inject(of));

t.test(
  "the sidecar is started before the app and the app's init containers, and goes on running",
  async (t) => {
    const { pod: out, without } = inject(pod());
    t.equal(without, undefined);
    t.same(
      out.spec!.initContainers!.map(({ name }) => name),
      [CAPTURE_CONTAINER, SIDECAR_CONTAINER, 'migrate'],
    );
    t.match(container(out, SIDECAR_CONTAINER), {
      restartPolicy: 'Always',
      startupProbe: { httpGet: { path: '/ready', port: 15021 } },
      securityContext: { runAsUser: 1337, runAsNonRoot: true, readOnlyRootFilesystem: true },
    });
    t.match(container(out, CAPTURE_CONTAINER), {
      args: ['--uid', '1337', '--to', '15001', '--ports', '80'],
      securityContext: { capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] } },
    });
    t.equal(container(out, CAPTURE_CONTAINER)!.restartPolicy, undefined, 'it runs once');
  },
);

t.test('the app gets neither the certificate nor the credentials of the sidecar', async (t) => {
  const { pod: out } = inject(pod());
  for (const { volumeMounts, envFrom } of [...out.spec!.containers!, container(out, 'migrate')!]) {
    t.equal(volumeMounts, undefined);
    t.equal(envFrom, undefined);
  }
});

t.test('a sidecar says who it is as its certificate does, and what it stands beside', async (t) => {
  const { pod: out } = inject(pod({}, { serviceAccountName: 'camera' }));
  const args = container(out, SIDECAR_CONTAINER)!.args as string[];
  const made = JSON.parse(args[args.indexOf('--config-yaml') + 1]!);
  t.equal(made.node.id, 'apps.camera');
  t.match(made.node.metadata.layby, {
    labels: { app: 'camera' },
    queue: '$(NODE_IP):15006',
    queueId: 'spiffe://layby.local/node/edge',
  });
  t.match(out.spec!.volumes, [{ secret: { secretName: 'layby-camera' } }, { emptyDir: {} }]);
});

t.test('a sidecar begins to serve with its whole configuration, however long that takes', async (t) => {
  const args = container(inject(pod()).pod, SIDECAR_CONTAINER)!.args as string[];
  const made = JSON.parse(args[args.indexOf('--config-yaml') + 1]!);
  const { cds_config, lds_config } = made.dynamic_resources;
  const holds = made.layered_runtime.layers[0].rtds_layer.rtds_config;
  for (const config of [cds_config, lds_config, holds]) t.equal(config.initial_fetch_timeout, '0s');
  t.match(made.static_resources.listeners, [{ address: { socket_address: { port_value: 15021 } } }]);
});

t.test('injected twice is injected once', async (t) => {
  for (const annotations of [{}, { 'layby.dev/capture': 'proxy' }, { 'layby.dev/resolve': 'a.example' }]) {
    const once = inject(pod(annotations)).pod;
    t.same(inject(once).pod, once);
    t.same(patchOf(once, inject(once).pod), []);
  }
});

t.test('the patch has the fields of the spec that changed, and no others', async (t) => {
  const before = pod();
  t.same(
    patchOf(before, inject(before).pod).map(({ op, path }) => `${op} ${path}`),
    ['add /spec/initContainers', 'add /spec/volumes'],
  );
});

t.test("with `proxy` nothing needs NET_ADMIN, and what the app's environment says stays", async (t) => {
  const { pod: out } = inject(pod({ 'layby.dev/capture': 'proxy', 'layby.dev/exclude-cidrs': '10.0.0.0/8' }));
  t.equal(container(out, CAPTURE_CONTAINER), undefined);
  t.same(out.spec!.containers![0]!.env, [
    { name: 'no_proxy', value: 'mine' },
    { name: 'http_proxy', value: 'http://127.0.0.1:15001' },
    { name: 'HTTP_PROXY', value: 'http://127.0.0.1:15001' },
    { name: 'NO_PROXY', value: 'localhost,127.0.0.1,::1,.svc,.cluster.local,10.0.0.0/8' },
  ]);
  t.match(container(out, 'migrate')!.env, [{ name: 'http_proxy' }]);
});

t.test('names resolve without DNS where the pod says which', async (t) => {
  const mine = { ip: '10.0.0.1', hostnames: ['mine'] };
  const { pod: out } = inject(
    pod({ 'layby.dev/resolve': 'dashcam.example, api.example' }, { hostAliases: [mine] }),
  );
  t.same(out.spec!.hostAliases, [mine, { ip: '198.18.0.1', hostnames: ['dashcam.example', 'api.example'] }]);
});

t.test(
  'a pod that does not want a sidecar, or cannot have one, is left as it is, with the reason',
  async (t) => {
    for (const [of, why] of [
      [pod({ 'layby.dev/inject': 'false' }), /says layby\.dev\/inject/],
      [{ ...pod(), metadata: { labels: { 'layby.dev/inject': 'false' } } }, /says layby\.dev\/inject/],
      [pod({}, { hostNetwork: true }), /hostNetwork/],
      [pod({}, { os: { name: 'windows' } }), /for windows/],
      [pod({}, { nodeSelector: { 'kubernetes.io/os': 'windows' } }), /for windows/],
      [pod({ 'kubernetes.io/config.mirror': 'x' }), /from a file/],
    ] as [Pod, RegExp][]) {
      const result = inject(of);
      t.match(result.without, why);
      t.equal(result.pod, of);
    }
  },
);

t.test('an app that runs as the user of the sidecar is refused: its calls would pass by it', async (t) => {
  const code = /LAYBY_INJECT_INVALID the container app runs as user 1337/;
  t.match(refusal(pod({}, { securityContext: { runAsUser: 1337 } })), code);
  t.match(refusal(pod({}, { containers: [{ name: 'app', securityContext: { runAsUser: 1337 } }] })), code);
  const other = {
    securityContext: { runAsUser: 1337 },
    containers: [{ name: 'a', securityContext: { runAsUser: 1 } }],
  };
  t.match(refusal(pod({}, { ...other, initContainers: [] })), 'it was taken');
  t.match(
    refusal(pod({ 'layby.dev/capture': 'proxy' }, { securityContext: { runAsUser: 1337 } })),
    'it was taken',
  );
});

t.test('an annotation that is wrong is refused, with what may have been meant', async (t) => {
  for (const [name, value, said] of [
    ['layby.dev/capture', 'ip-tables', /write iptables, proxy or none/],
    ['layby.dev/capture-ports', '80,http', /write ports from 1 to 65535/],
    ['layby.dev/exclude-ports', '70000', /write ports/],
    ['layby.dev/exclude-cidrs', '10.0.0.0/33', /write addresses or CIDRs/],
    ['layby.dev/resolve', '*.example', /without wildcards/],
    ['layby.dev/edge', 'a b', /host name/],
    ['layby.dev/node', 'a/b', /SPIFFE id/],
    ['layby.dev/exclude-port', '1', /perhaps layby\.dev\/exclude-ports is meant/],
  ] as const)
    t.match(refusal(pod({ [name]: value })), said, name);
});

t.test('settings that are wrong are refused, with what may have been meant', async (t) => {
  t.match(settingsOf({ image: 'mine:1' }, 'x'), { image: 'mine:1', capture: 'iptables' });
  for (const [said, message] of [
    [{ imagee: 'x' }, /perhaps image is meant/],
    [{ xdsPort: '1' }, /write a number/],
    [{ capture: 'all' }, /write iptables/],
    [{ excludeCidrs: 'x' }, /CIDRs/],
    [[], /names and values/],
  ] as const)
    t.match(
      refusalOf(() => settingsOf(said, 'x')),
      message,
    );
});

t.test('pull secrets are added to those of the pod, each once', async (t) => {
  const said = settingsOf({ imagePullSecrets: 'registry, mirror' }, 'the test');
  const names = (of: Pod) => injectPod(of, 'apps', said).pod.spec!.imagePullSecrets;
  t.same(names(pod()), [{ name: 'registry' }, { name: 'mirror' }]);
  const own = pod({}, { imagePullSecrets: [{ name: 'own' }, { name: 'mirror' }] });
  t.same(names(own), [{ name: 'own' }, { name: 'mirror' }, { name: 'registry' }]);
  t.same(names(injectPod(own, 'apps', said).pod), names(own), 'the same when done twice');
  t.equal(inject(pod()).pod.spec!.imagePullSecrets, undefined);
});

t.test('what the capture container takes is a setting', async (t) => {
  const said = settingsOf(
    { captureCpu: '5m', captureMemory: '24Mi', captureMemoryLimit: '48Mi' },
    'the test',
  );
  const { pod: out } = injectPod(pod(), 'apps', said);
  t.same(container(out, CAPTURE_CONTAINER)!.resources, {
    requests: { cpu: '5m', memory: '24Mi' },
    limits: { memory: '48Mi' },
  });
});
