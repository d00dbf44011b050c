// From the operator's files to the policy that the rest of Layby sees: all of it, or one error that names every problem
// of every file. Reading the files is for src/policy/sources.

import { checkDocument } from './check.ts';
import { type Path, type PolicyDocument, type PolicyFile, pathText, readDocuments } from './documents.ts';
import { canonicalHost } from './host.ts';
import { writtenClaim } from './listening.ts';
import type { Policy } from './policy.ts';
import { PolicyError, type PolicyProblem } from './problem.ts';
import { resolve, resolveMesh, resolveService } from './resolve.ts';
import { MESH_KIND, type MeshDocument } from './schema/mesh.ts';
import { SERVICE_KIND, type ServiceDocument } from './schema/service.ts';
import { type DestinationDocument, KIND } from './schema.ts';
import { policyOf } from './version.ts';

export type { PolicyFile } from './documents.ts';
export { PolicyError, type PolicyProblem } from './problem.ts';

interface Claim {
  document: PolicyDocument;
  path: Path;
  /** Whose it is, for the message about the second one. */
  owner: string;
}

const strings = (value: unknown): [number, string][] =>
  (Array.isArray(value) ? [...value.entries()] : []).filter(
    (entry): entry is [number, string] => typeof entry[1] === 'string',
  );

/** Names, hosts and addresses claimed twice, and a second document of what there is one of. Looks at wrong documents too, as far as they can be read, to name all problems at once. */
const conflicts = (documents: readonly PolicyDocument[]): PolicyProblem[] => {
  const problems: PolicyProblem[] = [];
  const claim = (claims: Map<string, Claim>, key: string, what: string, mine: Claim) => {
    const first = claims.get(key);
    if (!first) {
      claims.set(key, mine);
      return;
    }
    const { line, column } = first.document.place(first.path);
    problems.push({
      file: mine.document.file,
      ...mine.document.place(mine.path),
      path: pathText(mine.path),
      message: `${what} is already claimed${first.owner && ` by ${first.owner}`} at ${first.document.file}:${line}:${column}`,
    });
  };
  const names = new Map<string, Claim>();
  const hosts = new Map<string, Claim>();
  const addresses = new Map<string, Claim>();
  const mesh = new Map<string, Claim>();
  for (const document of documents) {
    const { kind, metadata, spec } = document.value as {
      kind?: unknown;
      metadata?: { name?: unknown };
      spec?: { hosts?: unknown; node?: unknown; address?: unknown };
    };
    const name = typeof metadata?.name === 'string' ? metadata.name : '';
    const owner = name && `${kind === SERVICE_KIND ? 'service' : 'destination'} ${name}`;
    if (name) claim(names, name, `the name ${name}`, { document, path: ['metadata', 'name'], owner: '' });
    if (kind === MESH_KIND)
      claim(mesh, MESH_KIND, 'the one document of kind Mesh', { document, path: ['kind'], owner: '' });
    for (const [i, host] of strings(spec?.hosts)) {
      const key = canonicalHost(host);
      claim(hosts, key, `the host ${key}`, { document, path: ['spec', 'hosts', i], owner });
    }
    const address = kind === SERVICE_KIND && spec ? writtenClaim(spec) : undefined;
    if (address) claim(addresses, address, address, { document, path: ['spec', 'address'], owner });
  }
  return problems;
};

/**
 * The policy that these files make together. Each may hold several YAML documents, or JSON.
 * Throws PolicyError (LAYBY_POLICY_INVALID) with all problems of all files.
 */
export const parsePolicy = (files: readonly PolicyFile[]): Policy => {
  const documents: PolicyDocument[] = [];
  const problems: PolicyProblem[] = [];
  for (const file of files) {
    const read = readDocuments(file);
    documents.push(...read.documents);
    problems.push(...read.problems);
  }
  if (documents.length === 0 && problems.length === 0) {
    const read = files.length
      ? `${files.map(({ path }) => path).join(', ')} hold none`
      : 'there are no files';
    problems.push({
      file: files.length === 1 ? files[0]!.path : '',
      line: 1,
      column: 1,
      path: '',
      message: `expected at least one document of kind Destination, Service or Mesh, but ${files.length === 1 ? 'the file holds none' : read}`,
    });
  }
  for (const document of documents) {
    for (const { path, message, at } of checkDocument(document.value)) {
      problems.push({ file: document.file, ...document.place(path, at), path: pathText(path), message });
    }
  }
  problems.push(...conflicts(documents));
  if (problems.length > 0) {
    const order = new Map(files.map(({ path }, i) => [path, i]));
    throw new PolicyError(
      problems.toSorted(
        (a, b) => order.get(a.file)! - order.get(b.file)! || a.line - b.line || a.column - b.column,
      ),
    );
  }
  const ofKind = <Value extends { kind: string }>(kind: Value['kind']): Value[] =>
    documents.map(({ value }) => value as Value).filter((value) => value.kind === kind);
  const [mesh] = ofKind<MeshDocument>(MESH_KIND);
  return policyOf({
    destinations: ofKind<DestinationDocument>(KIND).map((each) => resolve(each)),
    services: ofKind<ServiceDocument>(SERVICE_KIND).map((each) => resolveService(each)),
    ...(mesh && resolveMesh(mesh)),
  });
};
