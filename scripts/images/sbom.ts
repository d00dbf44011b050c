// What is in an image, as CycloneDX 1.5: npm says its packages itself, the rest is added.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DebianPackage } from './debian.ts';

export interface Component {
  type: string;
  name: string;
  version: string;
  purl?: string;
  hashes?: { alg: string; content: string }[];
  [more: string]: unknown;
}

interface Bom {
  bomFormat: string;
  specVersion: string;
  metadata?: { component?: Component; [more: string]: unknown };
  components: Component[];
  [more: string]: unknown;
}

export const ofDebian = ({ name, version, architecture, sha256 }: DebianPackage): Component => ({
  type: 'library',
  name,
  version,
  purl: `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}`,
  hashes: [{ alg: 'SHA-256', content: sha256 }],
});

export const program = (name: string, version: string, sha256: string, purl: string): Component => ({
  type: 'application',
  name,
  version,
  purl,
  hashes: [{ alg: 'SHA-256', content: sha256 }],
});

/** Of what `npm sbom --package-lock-only --sbom-format cyclonedx` printed, the packages that are really in `directory`: it lists those for
 *  other platforms too. */
export function installed(npm: string, directory: string): string {
  const whole = JSON.parse(npm) as Bom;
  const components = whole.components.filter(({ name }) => existsSync(join(directory, 'node_modules', name)));
  return JSON.stringify({ ...whole, components });
}

/** `npm`: what `npm sbom --sbom-format cyclonedx` printed, where the image has npm's packages. */
export function bom(image: string, version: string, added: readonly Component[], npm?: string): string {
  const base: Bom = npm
    ? JSON.parse(npm)
    : { bomFormat: 'CycloneDX', specVersion: '1.5', version: 1, components: [] };
  const { serialNumber: _, dependencies: __, ...kept } = base;
  const made = {
    ...kept,
    // Nothing of when it was made, so that the same image has the same list.
    metadata: { component: { type: 'container', name: image, version } },
    components: [...base.components, ...added],
  };
  return `${JSON.stringify(made, undefined, 2)}\n`;
}
