// An image as one tar file, that both `docker load` and OCI tools (skopeo, ctr, podman) read: an OCI layout with Docker's manifest beside it.
// The same files make the same bytes.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Image {
  /** `name:tag` */
  reference: string;
  /** For each kind of processor, directories whose files are a layer each, the lowest first. */
  variants: readonly { architecture: string; layers: readonly string[] }[];
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
  platform?: { architecture: string; os: 'linux' };
}

/** Writes `file`; `scratch` is used and removed. Needs GNU tar and gzip. For several kinds of processor it is one image index; Docker's own
 *  format has but one of them, the first. */
export function writeImage({ reference, variants, config }: Image, file: string, scratch: string): void {
  rmSync(scratch, { recursive: true, force: true });
  const blobs = join(scratch, 'blobs', 'sha256');
  mkdirSync(blobs, { recursive: true });
  const json = (value: object): Uint8Array => Buffer.from(JSON.stringify(value));
  const blob = (mediaType: string, value: object): Descriptor => {
    const bytes = json(value);
    const digest = sha256(bytes);
    writeFileSync(join(blobs, digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const layerOf = (directory: string) => {
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
  };
  const made = variants.map(({ architecture, layers }) => {
    const parts = layers.map(layerOf);
    const configuration = blob('application/vnd.oci.image.config.v1+json', {
      architecture,
      os: 'linux',
      created: '1970-01-01T00:00:00Z',
      config,
      rootfs: { type: 'layers', diff_ids: parts.map(({ diffId }) => diffId) },
      history: parts.map(() => ({
        created: '1970-01-01T00:00:00Z',
        created_by: 'scripts/build-images.ts',
      })),
    });
    const mediaType = 'application/vnd.oci.image.manifest.v1+json';
    const inOrder = parts.map(({ layer }) => layer);
    const manifest: Descriptor = {
      ...blob(mediaType, { schemaVersion: 2, mediaType, config: configuration, layers: inOrder }),
      platform: { architecture, os: 'linux' },
    };
    return { configuration, layers: inOrder, manifest };
  });
  const [first] = made;
  if (!first) throw new Error(`${reference} has no variant`);
  const annotations = {
    'org.opencontainers.image.ref.name': reference.split(':')[1]!,
    'io.containerd.image.name': `docker.io/library/${reference}`,
  };
  const path = ({ digest }: Descriptor): string => `blobs/sha256/${digest.slice('sha256:'.length)}`;
  const write = (name: string, value: object) => writeFileSync(join(scratch, name), json(value));
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const top =
    made.length === 1
      ? first.manifest
      : blob(mediaType, { schemaVersion: 2, mediaType, manifests: made.map(({ manifest }) => manifest) });
  write('oci-layout', { imageLayoutVersion: '1.0.0' });
  write('index.json', { schemaVersion: 2, manifests: [{ ...top, annotations }] });
  write('manifest.json', [
    { Config: path(first.configuration), RepoTags: [reference], Layers: first.layers.map(path) },
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
