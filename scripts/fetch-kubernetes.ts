// Builds the programs that `npm run test:kubernetes` runs, where the cache does not have them: `node scripts/fetch-kubernetes.ts
// [NAME…]`. About ten minutes of two cores, once. Without Go it says so and leaves it at that: the tests skip.

import { noGo } from '../test/rig/go.ts';
import {
  KUBERNETES_PROGRAMS,
  KUBERNETES_VERSION,
  type KubernetesProgram,
  kubernetesProgram,
} from '../test/rig/kubernetes/programs.ts';

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !KUBERNETES_PROGRAMS.includes(name as KubernetesProgram));
if (unknown.length > 0) {
  console.error(`no program is called ${unknown.join(', ')}; there are ${KUBERNETES_PROGRAMS.join(', ')}`);
  process.exit(2);
}
if (noGo) console.error(`Kubernetes cannot be built here: ${noGo}`);
else {
  console.error(`Kubernetes ${KUBERNETES_VERSION}: building what the cache does not have`);
  for (const name of KUBERNETES_PROGRAMS)
    if (asked.length === 0 || asked.includes(name)) console.log(`${name}\t${await kubernetesProgram(name)}`);
}
