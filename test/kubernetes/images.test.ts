// The images, built from nothing but packages, and the edge pod of them: each container in a root that has only its image, as the user and with the
// arguments that the chart says. Docker is not needed; where there is a daemon, it takes them too.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chown, lstat, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { policyOf } from '../e2e/scene.ts';
import { helm, noHelm } from '../rig/helm.ts';
import { buildImages, inRoot, noImages } from '../rig/kubernetes/images.ts';
import { endsWithTheTest } from '../rig/lifetime.ts';
import { freePort } from '../rig/ports.ts';
import { run } from '../rig/run.ts';

t.setTimeout(600_000);

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const version: string = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')).version;
const skip = noHelm || noImages;

interface Container {
  name: string;
  image: string;
  command: string[];
  args: string[];
  env?: { name: string; value?: string }[];
  volumeMounts?: { name: string; mountPath: string; subPath?: string }[];
}

const images = skip ? undefined : await mkdtemp(join(tmpdir(), 'layby-i-'));
t.teardown(() => images && rm(images, { recursive: true, force: true }));

t.test(
  'the edge pod runs from the images, not as root, on a root that it cannot write',
  { skip },
  async (t) => {
    const dir = images!;
    const { built, roots } = await buildImages(dir);
    t.teardown(() => run(['rm', '-rf', dir]));
    for (const name of roots.keys()) {
      const sbom = JSON.parse(await readFile(join(built, `${name}.cdx.json`), 'utf8'));
      const names = sbom.components.map((each: { name: string }) => each.name);
      t.match(sbom, { bomFormat: 'CycloneDX', metadata: { component: { name, version } } });
      t.ok(names.includes('libc6'));
      t.equal(names.includes('node') && names.includes('undici'), name === 'layby');
    }

    // The chart's own words, but for ports that other tests may have.
    const [run_, data, etc] = ['run', 'data', 'etc'].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ];
    for (const each of [run_, data, etc, join(etc, 'policy'), join(etc, 'admin')]) await mkdir(each);
    await chown(run_, 1337, 1337);
    await writeFile(join(etc, 'policy/policy.yaml'), policyOf({ name: 'api', url: 'http://127.0.0.1:9' }));
    await writeFile(join(etc, 'admin/token'), 'a-token-of-the-test\n');
    const [admin, queue, xds] = [await freePort(), await freePort(), await freePort()];
    const probed = await Promise.all(
      ['health', 'queueHealth', 'envoyHealth'].map(async (name) => `edge.ports.${name}=${await freePort()}`),
    );
    const text = await helm([
      ...['template', 'layby', join(ROOT, 'manifests/chart'), '--kube-version', '1.36'],
      ...[
        '--set',
        `policy.source=files,policy.configMap=policy,edge.adminTokenSecret=admin,edge.ports.admin=${admin}`,
      ],
      ...['--set', `edge.ports.queue=${queue},edge.ports.xds=${xds},${probed.join(',')}`],
    ]);
    const pod = parseAllDocuments(text)
      .map((each) => each.toJS())
      .find((each) => each?.kind === 'DaemonSet').spec.template.spec as {
      initContainers: Container[];
      containers: Container[];
    };
    const argv = (
      { image, command, args, env = [], volumeMounts = [] }: Container,
      uid?: number,
    ): string[] => {
      const root = roots.get(image.split(':')[0]!)!;
      const places: Record<string, string> = {
        run: run_,
        data,
        policy: join(etc, 'policy'),
        admin: join(etc, 'admin'),
      };
      const binds = volumeMounts.map(({ name, mountPath, subPath = '' }): [string, string] => [
        join(places[name]!, subPath),
        mountPath,
      ]);
      const given = Object.fromEntries(
        env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])),
      );
      return inRoot({ root, binds, env: given, ...(uid !== undefined && { uid }) }, [...command, ...args]);
    };

    const first = (wanted: string) => pod.initContainers.find(({ name }) => name === wanted)!;
    await mkdir(join(data, 'queue/old'), { recursive: true });
    await run(argv(first('own-data'), 0));
    for (const name of ['control-plane/identity', 'queue', 'queue/old', 'shared'])
      t.match(await lstat(join(data, name)), { uid: 1337, gid: 1337 }, `${name} is handed over`);
    await run(argv(first('bootstrap')));
    const children = new Map<string, ChildProcess>();
    for (const container of pod.containers) {
      const [file = '', ...rest] = argv(container);
      const child = spawn(file, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
      child.stderr.on('data', (text) => {
        if (/layby: |"level":"error"|critical/.test(String(text))) t.comment(`${container.name}: ${text}`);
      });
      children.set(container.name, child);
      endsWithTheTest(t, child);
    }
    const ready = async () =>
      (await fetch(`http://127.0.0.1:${admin}/readyz`).then((answer) => answer.text(), String)).trim();
    const deadline = Date.now() + 60_000;
    for (let said = ''; said !== 'ready'; said = await ready()) {
      for (const [name, child] of children)
        if (child.exitCode !== null) throw new Error(`${name} ended; ${said}`);
      if (Date.now() > deadline) throw new Error(`not ready: ${said}`);
      await sleep(100);
    }
    const sidecars = async () => {
      const headers = { authorization: 'Bearer a-token-of-the-test' };
      const answer = await fetch(`http://127.0.0.1:${admin}/v1/status`, { headers });
      return ((await answer.json()) as { sidecars: { upToDate: boolean }[] }).sidecars;
    };
    while (!(await sidecars()).some(({ upToDate }) => upToDate)) await sleep(100);

    // Idle: garbage of the start is gone by then.
    await sleep(20_000);
    let sum = 0;
    for (const [name, { pid }] of children) {
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      const mb = (field: string) =>
        Math.round(Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)![1]) / 1024);
      t.match(status, /^Uid:\t1337\t1337\t1337\t1337$/m);
      t.match(status, /^CapEff:\t0+$/m);
      t.comment(`idle: ${name} ${mb('VmRSS')} MB resident, of it ${mb('RssAnon')} MB its own`);
      sum += mb('VmRSS');
    }
    t.comment(`idle: the edge pod ${sum} MB resident`);
    t.ok(sum < 340, `${sum} MB: docs/chart.md says what it should be`);

    const docker = spawnSync('docker', ['info']).status === 0;
    t.test('Docker takes them', { skip: docker ? false : 'there is no Docker daemon' }, async (t) => {
      for (const name of roots.keys()) {
        await run(['docker', 'load', '-i', join(built, `${name}.tar`)]);
        const bare = ['docker', 'run', '--rm', '--read-only', '--network', 'none', '--cap-drop', 'ALL'];
        t.match(
          await run([...bare, `${name}:${version}`, '--version']),
          name === 'layby' ? version : /1\.\d+\.\d+\/Clean/,
        );
      }
    });
  },
);
