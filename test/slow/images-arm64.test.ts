// The images for two kinds of processor at once: one index, in which everything of a variant is for its own. What is for another one than this
// machine's runs under QEMU, where there is one on the PATH (qemu-aarch64-static).

import { mkdir, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { onPath } from '../../src/parts/executable.ts';
import { noImages } from '../rig/kubernetes/images.ts';
import { run } from '../rig/run.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(900_000);

/** In an ELF header. */
const MACHINES: Record<string, number> = { amd64: 62, arm64: 183 };

interface Descriptor {
  digest: string;
  mediaType: string;
  platform: { architecture: string; os: string };
}

async function machinesIn(root: string): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = await open(join(entry.parentPath, entry.name));
    const head = Buffer.alloc(20);
    await file.read(head, 0, 20, 0);
    await file.close();
    if (head.toString('latin1', 0, 4) !== '\x7fELF') continue;
    const machine = head.readUInt16LE(18);
    found.set(machine, (found.get(machine) ?? 0) + 1);
  }
  return found;
}

t.test(
  'images for amd64 and arm64 are one index, and each has what is its own',
  { skip: noImages },
  async (t) => {
    const dir = testdir(t);
    const script = fileURLToPath(new URL('../../scripts/build-images.ts', import.meta.url));
    const build = ['env', '-u', 'NODE_OPTIONS', process.execPath, script, '--out', join(dir, 'built')];
    await run([...build, '--arch', 'amd64', '--arch', 'arm64'], { timeout: 800_000 });
    const qemu = await onPath('qemu-aarch64-static');
    for (const [name, programs] of [
      [
        'layby',
        [
          ['usr/bin/node', '--version'],
          ['usr/bin/node', 'opt/layby/bin/layby.js', '--version'],
        ],
      ],
      [
        'layby-envoy',
        [
          ['usr/local/bin/envoy', '--version'],
          ['usr/bin/busybox', 'true'],
        ],
      ],
    ] as const) {
      const image = join(dir, name);
      await mkdir(image);
      await run(['tar', '-xf', join(dir, 'built', `${name}.tar`), '-C', image]);
      const blob = ({ digest }: Descriptor) => join(image, 'blobs/sha256', digest.slice('sha256:'.length));
      const read = async (path: string) => JSON.parse(await readFile(path, 'utf8'));
      const [index] = (await read(join(image, 'index.json'))).manifests as Descriptor[];
      t.equal(index!.mediaType, 'application/vnd.oci.image.index.v1+json');
      const { manifests } = (await read(blob(index!))) as { manifests: Descriptor[] };
      t.same(
        manifests.map(({ platform }) => platform),
        ['amd64', 'arm64'].map((architecture) => ({ architecture, os: 'linux' })),
      );
      for (const manifest of manifests) {
        const { architecture } = manifest.platform;
        const { config, layers } = (await read(blob(manifest))) as {
          config: Descriptor;
          layers: Descriptor[];
        };
        t.match(await read(blob(config)), { architecture, config: { User: '1337:1337' } });
        const root = join(dir, `${name}-${architecture}`);
        await mkdir(root);
        for (const layer of layers)
          await run(['tar', '-xzf', blob(layer), '-C', root, '--keep-directory-symlink']);
        const machines = await machinesIn(root);
        t.same([...machines.keys()], [MACHINES[architecture]!], `${name} ${architecture}`);
        if (architecture === 'arm64' && qemu)
          for (const [program, ...args] of programs) {
            const given = args.map((each) => (each.includes('/') ? join(root, each) : each));
            t.comment(await run([qemu, '-L', root, join(root, program), ...given], { timeout: 120_000 }));
          }
      }
    }
  },
);
