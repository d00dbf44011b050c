// What `layby up` serves when nobody names a policy: an S3 server on loopback, with its data on disk, as the destination.

import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findRclone } from '../parts/rclone.ts';
import { type S3Server, startS3Server } from '../parts/s3-server.ts';
import type { Logger } from '../telemetry/log.ts';

export const DEMO_HOST = 'dashcam.example';
const BUCKET = 'dashcam';

export interface Demo {
  policyFile: string;
  s3: S3Server;
  /** Where uploads arrive. */
  bucketDir: string;
  /** For the process that signs. */
  credentials: { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string };
}

interface Keys {
  accessKey: string;
  secretKey: string;
}

/** Made once for each data directory, readable by its owner only. */
async function keys(dir: string): Promise<Keys> {
  const path = join(dir, 'keys.json');
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Keys;
  } catch {
    const made = {
      accessKey: `LAYBY${randomBytes(8).toString('hex').toUpperCase().slice(0, 15)}`,
      secretKey: randomBytes(20).toString('hex'),
    };
    await writeFile(path, JSON.stringify(made), { mode: 0o600 });
    return made;
  }
}

const policy = (
  url: string,
): string => `# Written by \`layby up\` at each start; name your own policy with --policy FILE.
apiVersion: layby.dev/v1alpha1
kind: Destination
metadata:
  name: dashcam
spec:
  hosts: [${DEMO_HOST}]
  upstream:
    url: ${url}/${BUCKET}
    sign: { aws: { service: s3, region: us-east-1 } }
  store:
    class: evidence
  replay:
    retry: { max: 2s }
`;

export interface DemoOptions {
  log: Logger;
  onFetch: (name: string) => void;
  /** Gives up a download. */
  signal: AbortSignal | undefined;
}

/** Errors: those of findRclone and startS3Server. */
export async function startDemo(data: string, { log, onFetch, signal }: DemoOptions): Promise<Demo> {
  const dir = join(data, 'demo');
  const bucketDir = join(dir, 's3', BUCKET);
  await mkdir(bucketDir, { recursive: true });
  const rclone = await findRclone({ onFetch, signal });
  const { accessKey, secretKey } = await keys(dir);
  const s3 = await startS3Server({
    rclone,
    dir: join(dir, 's3'),
    listen: '127.0.0.1:0',
    accessKey,
    secretKey,
    log,
  });
  const policyFile = join(dir, 'policy.yaml');
  await writeFile(policyFile, policy(s3.url));
  return {
    policyFile,
    s3,
    bucketDir,
    credentials: { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey },
  };
}
