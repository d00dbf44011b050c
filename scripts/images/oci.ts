// An image as one tar file, that both `docker load` and OCI tools (skopeo, ctr, podman) read: an OCI layout with Docker's manifest beside it.
// The same files make the same bytes.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Image {
  /** `name:tag` */
  reference: string;
  /** Directories whose files are a layer each, the lowest first. */
  layers: readonly string[];
  config: {
    Entrypoint?: readonly string[];
    User: string;
    Env: readonly string[];
    WorkingDir: string;
    Labels: Record<string, string>;
  };
}

/** Nothing of when and by whom it was built. */
const SAME_TAR = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu'];

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

/** Writes `file`; `scratch` is used and removed. Needs GNU tar and gzip. */
export function writeImage({ reference, layers, config }: Image, file: string, scratch: string): void {
  rmSync(scratch, { recursive: true, force: true });
  const blobs = join(scratch, 'blobs', 'sha256');
  mkdirSync(blobs, { recursive: true });
  const blob = (mediaType: string, bytes: Uint8Array): Descriptor => {
    const digest = sha256(bytes);
    writeFileSync(join(blobs, digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const made = layers.map((directory) => {
    const tar = join(scratch, 'layer.tar');
    execFileSync('tar', [...SAME_TAR, '-cf', tar, '-C', directory, '.']);
    const diffId = `sha256:${execFileSync('sha256sum', [tar], { encoding: 'utf8' }).slice(0, 64)}`;
    execFileSync('gzip', ['-n', '-6', tar]);
    const packed = `${tar}.gz`;
    const digest = execFileSync('sha256sum', [packed], { encoding: 'utf8' }).slice(0, 64);
    const { size } = statSync(packed);
    renameSync(packed, join(blobs, digest));
    const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
    return { diffId, layer: { mediaType, digest: `sha256:${digest}`, size } };
  });
  const json = (value: object): Uint8Array => Buffer.from(JSON.stringify(value));
  const configuration = blob(
    'application/vnd.oci.image.config.v1+json',
    json({
      architecture: 'amd64',
      os: 'linux',
      created: '1970-01-01T00:00:00Z',
      config,
      rootfs: { type: 'layers', diff_ids: made.map(({ diffId }) => diffId) },
      history: made.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'scripts/build-images.ts' })),
    }),
  );
  const manifest = blob(
    'application/vnd.oci.image.manifest.v1+json',
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: configuration,
      layers: made.map(({ layer }) => layer),
    }),
  );
  const annotations = {
    'org.opencontainers.image.ref.name': reference.split(':')[1]!,
    'io.containerd.image.name': `docker.io/library/${reference}`,
  };
  const path = ({ digest }: Descriptor): string => `blobs/sha256/${digest.slice('sha256:'.length)}`;
  const write = (name: string, value: object) => writeFileSync(join(scratch, name), json(value));
  write('oci-layout', { imageLayoutVersion: '1.0.0' });
  write('index.json', { schemaVersion: 2, manifests: [{ ...manifest, annotations }] });
  write('manifest.json', [
    { Config: path(configuration), RepoTags: [reference], Layers: made.map(({ layer }) => path(layer)) },
  ]);
  execFileSync('tar', [
    ...SAME_TAR,
    '-cf',
    file,
    '-C',
    scratch,
    'blobs',
    'index.json',
    'manifest.json',
    'oci-layout',
  ]);
  rmSync(scratch, { recursive: true });
}

/** The length of the file, bytes, and its SHA-256. */
export const weighed = (file: string): { bytes: number; sha256: string } => ({
  bytes: statSync(file).size,
  sha256: sha256(readFileSync(file)),
});
