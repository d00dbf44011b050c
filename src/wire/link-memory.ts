// What the control plane knows of the links, on the disk: the manual overrides and the kind of link. The queue obeys it when it starts
// without a control plane, and the control plane begins with the overrides. The control plane writes it.

import type { Override } from '../link/state.ts';
import { LINK_KINDS } from '../policy/policy.ts';
import { checkedJson, readCheckedJson } from './checked-json.ts';
import type { DurableFile } from './durable-file.ts';
import type { NetworkMessage } from './edge-service.ts';

const FORMAT = 1;
const OVERRIDES: readonly unknown[] = ['up', 'down', 'auto'] satisfies Override[];

/** The manual overrides of links. */
export interface Overrides {
  /** Of each destination that has none of its own, also of those that the policy gets later. */
  all: Override;
  /** Of single destinations; never the same as `all`. */
  byName: Readonly<Record<string, Override>>;
}

export interface LinkMemory extends Overrides {
  /** undefined: the control plane had not found out yet. `kind: ''`: it cannot be known on this machine. */
  network?: NetworkMessage;
}

export const NO_OVERRIDES: Overrides = { all: 'auto', byName: {} };

export const overrideOf = ({ all, byName }: Overrides, destination: string): Override =>
  Object.hasOwn(byName, destination) ? byName[destination]! : all;

/** No names: all destinations, and nothing of single ones is left. */
export function withOverride(before: Overrides, override: Override, names: readonly string[]): Overrides {
  if (names.length === 0) return { all: override, byName: {} };
  const { all, byName } = before;
  const next = { ...byName, ...Object.fromEntries(names.map((name) => [name, override])) };
  return { all, byName: Object.fromEntries(Object.entries(next).filter(([, own]) => own !== all)) };
}

export const linkMemoryText = (memory: LinkMemory): string => checkedJson(FORMAT, memory);

/** undefined: the file is missing, damaged, of another format or cannot be read, so nothing is known. */
export function readLinkMemory(file: DurableFile): LinkMemory | undefined {
  let content: unknown;
  try {
    content = readCheckedJson(FORMAT, file.read() ?? '');
  } catch {
    return undefined;
  }
  if (!isObject(content)) return undefined;
  const { all, byName, network } = content;
  if (!isOverride(all) || !isObject(byName) || !Object.values(byName).every(isOverride)) return undefined;
  if (network !== undefined && !isNetwork(network)) return undefined;
  return { all, byName: byName as Record<string, Override>, ...(network && { network }) };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isOverride = (value: unknown): value is Override => OVERRIDES.includes(value);
const isNetwork = (value: unknown): value is NetworkMessage =>
  isObject(value) &&
  (value.kind === '' || LINK_KINDS.some((kind) => kind === value.kind)) &&
  typeof value.interface === 'string' &&
  typeof value.metered === 'boolean' &&
  typeof value.roaming === 'boolean';
