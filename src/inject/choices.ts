// What a pod says of its injection, checked: settings, overridden by its annotations. Pure.

import { isIP } from 'node:net';
import { sidecarId } from '../identity/spiffe.ts';
import { nearMiss } from '../policy/near-miss.ts';
import { LaybyError } from '../telemetry/error.ts';
import * as names from './names.ts';
import type { Pod } from './pod-object.ts';
import { type Capture, type InjectSettings, NODE_IP } from './settings.ts';

export interface Choices {
  capture: Capture;
  /** `*`: all. */
  capturePorts: readonly number[] | '*';
  excludePorts: readonly number[];
  excludeCidrs: readonly string[];
  /** Names that are to resolve without DNS. */
  resolve: readonly string[];
  /** Node id of the sidecar. */
  node: string;
  /** Host of the edge pod. */
  edge: string;
  identitySecret: string;
  credentialsSecret: string;
}

const invalid = (annotation: string, value: string, expected: string): LaybyError =>
  new LaybyError('LAYBY_INJECT_INVALID', `the annotation ${annotation} is "${value}"`, {
    remedy: `write ${expected}`,
  });

export const listOf = (text: string): string[] =>
  text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');

function ports(annotation: string, text: string): number[] {
  return listOf(text).map((each) => {
    const port = /^\d{1,5}$/.test(each) ? Number(each) : 0;
    if (port < 1 || port > 65535) throw invalid(annotation, text, 'ports from 1 to 65535, like 80,8080');
    return port;
  });
}

function isCidr(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}

function cidrs(annotation: string, text: string): string[] {
  const list = listOf(text);
  if (list.every(isCidr)) return list;
  throw invalid(annotation, text, 'addresses or CIDRs, like 10.0.0.0/8,fd00::/8');
}

const HOST = /^(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})*$/;

function hosts(annotation: string, text: string): string[] {
  const list = listOf(text);
  if (list.every((each) => HOST.test(each))) return list;
  throw invalid(annotation, text, 'host names without wildcards, like dashcam.example,api.example');
}

function edgeOf(text: string): string {
  if (text === NODE_IP || HOST.test(text) || isIP(text)) return text;
  throw invalid(names.EDGE, text, `a host name, an address, or ${NODE_IP}`);
}

const CAPTURES: readonly Capture[] = ['iptables', 'proxy', 'none'];

function captureOf(text: string): Capture {
  const found = CAPTURES.find((each) => each === text);
  if (found) return found;
  throw invalid(names.CAPTURE, text, 'iptables, proxy or none');
}

/** A misspelt annotation would be a pod that does otherwise than its author thinks. */
function checkNames(annotations: Record<string, string>): void {
  for (const name of Object.keys(annotations)) {
    if (!name.startsWith('layby.dev/') || names.ANNOTATIONS.includes(name)) continue;
    const near = nearMiss(name, names.ANNOTATIONS);
    throw new LaybyError('LAYBY_INJECT_INVALID', `there is no annotation ${name}`, {
      remedy: near ? `perhaps ${near} is meant` : `there are ${names.ANNOTATIONS.join(', ')}`,
    });
  }
}

/** Errors: LAYBY_INJECT_INVALID, LAYBY_IDENTITY_INVALID. */
export function choicesOf(pod: Pod, namespace: string, settings: InjectSettings): Choices {
  const annotations = pod.metadata?.annotations ?? {};
  checkNames(annotations);
  const said = (name: string, otherwise: string): string => annotations[name] ?? otherwise;
  const account = pod.spec?.serviceAccountName || 'default';
  const capturePorts = said(names.CAPTURE_PORTS, settings.capturePorts).trim();
  const node = said(names.NODE, `${namespace}.${account}`);
  sidecarId(settings.trustDomain, node);
  return {
    capture: captureOf(said(names.CAPTURE, settings.capture)),
    capturePorts: capturePorts === '*' ? '*' : ports(names.CAPTURE_PORTS, capturePorts),
    excludePorts: ports(names.EXCLUDE_PORTS, said(names.EXCLUDE_PORTS, '')),
    excludeCidrs: [
      ...cidrs('of the settings', settings.excludeCidrs),
      ...cidrs(names.EXCLUDE_CIDRS, said(names.EXCLUDE_CIDRS, '')),
    ],
    resolve: hosts(names.RESOLVE, said(names.RESOLVE, '')),
    node,
    edge: edgeOf(said(names.EDGE, settings.edge)),
    identitySecret: said(names.IDENTITY_SECRET_NAME, `layby-${account}`),
    credentialsSecret: said(names.CREDENTIALS_SECRET_NAME, 'layby-credentials'),
  };
}
