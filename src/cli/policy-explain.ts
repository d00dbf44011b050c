import { type Explanation, explain } from '../policy/explain.ts';
import { keysOf } from '../policy/in-force.ts';
import { LaybyError } from '../telemetry/error.ts';
import { ask } from './admin-client.ts';
import { appOf, sourceOf } from './policy-source.ts';

export interface ExplainOptions {
  method: string;
  app?: string;
  label: string[];
  policy?: string[];
  admin: string;
  json?: boolean;
}

interface Now {
  state: string;
  why: string;
}

export async function explainUrl(
  url: string,
  { method, app, label, json, ...options }: ExplainOptions,
): Promise<void> {
  const { authority, path } = partsOf(url);
  const source = await sourceOf(options);
  const who = appOf(source, app, label);
  const explanation = explain(source.policy, {
    method: method.toUpperCase(),
    authority,
    path,
    apps: (destination) => keysOf(destination, who),
  });
  const now = options.policy ? undefined : await nowOf(options.admin, explanation.destination);
  console.log(
    json
      ? JSON.stringify({ ...explanation, ...(now && { now }) }, undefined, 2)
      : lines(explanation, now).join('\n'),
  );
}

function partsOf(url: string): { authority: string; path: string } {
  const match = /^(?:http:\/\/|(?![a-z]+:\/\/))([^/?#\s@]+)([/?][^#\s]*)?$/i.exec(url);
  if (!match)
    throw new LaybyError('LAYBY_URL_INVALID', `${JSON.stringify(url)} is no URL that an app can call`, {
      remedy: 'write http://HOST/PATH; apps call without TLS, and the mesh adds it',
    });
  const [, authority, rest = ''] = match;
  return { authority: authority!, path: rest.startsWith('/') ? rest : `/${rest}` };
}

async function nowOf(admin: string, destination: string | null): Promise<Now | undefined> {
  const { destinations } = await ask<{ destinations: (Now & { name: string })[] }>(
    admin,
    'GET',
    '/v1/status',
  );
  const found = destinations.find(({ name }) => name === destination);
  return found && { state: found.state, why: found.why };
}

function lines(explanation: Explanation, now: Now | undefined): string[] {
  const { method, url, destination, rule, upstream, stored, why } = explanation;
  const rows: [string, string | undefined][] = [
    ['destination', destination ?? 'none'],
    ['rule', destination === null ? undefined : rule ? `${rule.number}: ${rule.match}` : 'none matches'],
    [
      'upstream',
      upstream &&
        [upstream.url, ...(upstream.split ?? []).map((to) => `${to.percent} % to ${to.url}`)].join(', '),
    ],
    ['copies', upstream?.mirror],
    ['signed', upstream?.signed],
    ['mode', explanation.mode],
    ['receipt', explanation.receipt],
    ['order', explanation.order],
    ['class', stored ? explanation.class : undefined],
    ['with signal', explanation.withSignal],
    ['without', explanation.withoutSignal],
    ['afterwards', explanation.afterwards],
    ['now', now && `${now.state}: ${now.why}`],
    ...why.map((words, i): [string, string] => [i === 0 ? 'why' : '', words]),
  ];
  return [
    `${method} ${url}`,
    ...rows.flatMap(([what, words]) => (words === undefined ? [] : [`  ${what.padEnd(12)} ${words}`])),
  ];
}
