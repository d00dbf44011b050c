import { stringify } from 'yaml';
import { resourcesFor } from '../control-plane/resources/resources.ts';
import { sidecarNamed, sourceOf } from './policy-source.ts';

export interface DumpOptions {
  policy?: string[];
  admin: string;
  label: string[];
  json?: boolean;
}

export async function dump(node: string, { json, label, ...options }: DumpOptions): Promise<void> {
  const source = await sourceOf(options);
  const sidecar = sidecarNamed(source, node, label);
  // Without what is undefined, as Envoy gets it; YAML would write aliases for what is shared.
  const plain = JSON.parse(JSON.stringify(resourcesFor(source.policy, sidecar, source.queue))) as unknown;
  console.log(
    json
      ? JSON.stringify(plain, undefined, 2)
      : stringify(plain, { lineWidth: 0, aliasDuplicateObjects: false }).trimEnd(),
  );
}
