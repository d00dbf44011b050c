// Installs what `npm run bench:store` compares Layby with into the cache, each with its own ordinary client: `node scripts/fetch-peers.ts
// [NAME…]`. One that cannot be had is named, and the others go on; the benchmark skips it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findPeer, PEERS, type PeerName, peerDir, peersDir } from '../bench/peers/lock.ts';
import { messageOf } from '../src/telemetry/error.ts';

/** What the client says goes to stderr, so that a long build is seen to move. */
async function run(dir: string, command: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<void> {
  const child = spawn(command, args, {
    cwd: dir,
    env: { ...process.env, ...env },
    stdio: ['ignore', process.stderr, process.stderr],
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
}

/** A collector with only what the comparison needs. Its parts are versioned together: stable ones 1.x, the rest 0.x. */
const collector = (version: string): string => `
dist: { name: otelcol, output_path: ./build }
receivers: [{ gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v${version} }]
exporters: [{ gomod: go.opentelemetry.io/collector/exporter/otlphttpexporter v${version} }]
extensions:
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage v${version}
providers:
  - gomod: go.opentelemetry.io/collector/confmap/provider/envprovider v1.66.0
  - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider v1.66.0
`;

const install: Record<(typeof PEERS)[PeerName]['by'], (name: PeerName, dir: string) => Promise<void>> = {
  'go install': (name, dir) => run(dir, 'go', ['install', PEERS[name].packages[0]!], { GOBIN: dir }),
  npm: async (name, dir) => {
    await writeFile(join(dir, 'package.json'), '{"private":true}\n');
    await run(dir, 'npm', ['install', '--no-audit', '--no-fund', ...PEERS[name].packages]);
  },
  /** Unpacked, not installed: no service of it is started. */
  apt: async (name, dir) => {
    await run(dir, 'apt-get', ['download', ...PEERS[name].packages]);
    for (const file of await readdir(dir)) {
      if (file.endsWith('.deb')) await run(dir, 'dpkg-deb', ['-x', file, dir]);
    }
  },
  'the collector builder (Go)': async (name, dir) => {
    await run(dir, 'go', ['install', PEERS[name].packages[0]!], { GOBIN: dir });
    await writeFile(join(dir, 'builder.yaml'), collector(PEERS[name].version));
    await run(dir, join(dir, 'builder'), ['--config', 'builder.yaml']);
    await rename(join(dir, 'build', 'otelcol'), join(dir, 'otelcol'));
    await rm(join(dir, 'build'), { recursive: true });
  },
};

async function fetchPeer(name: PeerName): Promise<void> {
  await mkdir(peersDir(), { recursive: true });
  const dir = await mkdtemp(join(peersDir(), `.${name}-`));
  try {
    await install[PEERS[name].by](name, dir);
    // By rename, so that what is there is whole.
    await rename(dir, peerDir(name));
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in PEERS));
if (unknown.length > 0) {
  console.error(`no peer is called ${unknown.join(', ')}; there are ${Object.keys(PEERS).join(', ')}`);
  process.exit(2);
}
for (const [name, { title, version, by }] of Object.entries(PEERS) as [
  PeerName,
  (typeof PEERS)[PeerName],
][]) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  if (!(await findPeer(name))) {
    console.error(`fetching ${title} ${version} by ${by} (once)`);
    await fetchPeer(name).catch((error) => {
      console.error(`${title} cannot be had here: ${messageOf(error)}`);
      process.exitCode = 1;
    });
  }
  console.log(`${title} ${version}\t${(await findPeer(name)) ?? 'not there'}`);
}
