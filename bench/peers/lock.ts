// Which peers Layby is measured beside, at which version, and where they are kept: outside the repository, one directory for each
// version. Installing them is for scripts/fetch-peers.ts, starting them for start.ts.

import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

export type PeerName = 'nats' | 'nginx' | 'otelcol' | 'tus';

export interface Peer {
  title: string;
  version: string;
  /** The file whose presence means that it is there, in the peer's directory. */
  file: string;
  /** The client that brings it. */
  by: 'go install' | 'the collector builder (Go)' | 'npm' | 'apt';
  /** What that client is asked for. */
  packages: string[];
}

export const PEERS: Record<PeerName, Peer> = {
  nats: {
    title: 'NATS',
    version: '2.15.2',
    file: 'nats-server',
    by: 'go install',
    packages: ['github.com/nats-io/nats-server/v2@v2.15.2'],
  },
  nginx: {
    title: 'nginx',
    version: 'Debian',
    file: 'usr/sbin/nginx',
    by: 'apt',
    packages: ['nginx'],
  },
  tus: {
    title: 'tus node server',
    version: '2.4.5',
    file: 'node_modules/@tus/server/package.json',
    by: 'npm',
    packages: ['@tus/server@2.4.5', '@tus/file-store@2.1.1'],
  },
  otelcol: {
    title: 'OpenTelemetry Collector',
    version: '0.160.0',
    file: 'otelcol',
    by: 'the collector builder (Go)',
    packages: ['go.opentelemetry.io/collector/cmd/builder@v0.160.0'],
  },
};

/** `$LAYBY_CACHE/peers`, else `$XDG_CACHE_HOME/layby/peers`, else `~/.cache/layby/peers`. */
export const peersDir = (): string =>
  join(
    process.env.LAYBY_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'layby'),
    'peers',
  );

export const peerDir = (name: PeerName): string => join(peersDir(), `${name}-${PEERS[name].version}`);

/** The peer's file, or undefined where it has not been fetched. */
export const findPeer = async (name: PeerName): Promise<string | undefined> => {
  const path = join(peerDir(name), PEERS[name].file);
  return access(path, constants.R_OK).then(
    () => path,
    () => undefined,
  );
};
