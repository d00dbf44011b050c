// Fetches every part ahead of time, for CI, images and packages: `node scripts/fetch-parts.ts [--xds FILE]`. With --xds it also
// copies the xDS descriptors to FILE (the package's build names dist/xds.binpb). Prints what is where.

import { copyFile, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { findEnvoy } from '../src/parts/envoy.ts';
import { LOCK } from '../src/parts/lock.ts';
import { findRclone } from '../src/parts/rclone.ts';
import { fetchXdsDescriptors } from '../src/parts/xds-descriptors.ts';
import { LaybyError } from '../src/telemetry/error.ts';

const { values } = parseArgs({ options: { xds: { type: 'string' } } });
const options = { onFetch: (what: string) => console.error(`fetching ${what} (once)`) };

const show = async (title: string, path: string): Promise<void> =>
  console.log(`${title}\t${(await stat(path)).size} bytes\t${path}`);

try {
  const descriptors = await fetchXdsDescriptors(options);
  await show(`${LOCK.xds.title} ${LOCK.xds.version}`, descriptors);
  if (values.xds) {
    await mkdir(dirname(values.xds), { recursive: true });
    await copyFile(descriptors, values.xds);
    await show(`${LOCK.xds.title}, copied`, values.xds);
  }
  // These may be the machine's own, so no version is claimed.
  await show(LOCK.envoy.title, await findEnvoy(options));
  await show(LOCK.rclone.title, await findRclone(options));
} catch (error) {
  if (!(error instanceof LaybyError)) throw error;
  console.error(`${error.code} ${error.line}`);
  process.exitCode = 1;
}
