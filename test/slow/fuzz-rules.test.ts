// Which rule of a policy is in force for a request is said twice: by Envoy, which chooses a route, and by the queue, which stores. They
// must never differ: rules at random, hosts and paths that are nearly like theirs, and each request is asked of both.
//
// LAYBY_SEED repeats one seed, LAYBY_REQUESTS says how many requests each policy gets.

import { join } from 'node:path';
import t from 'tap';
import { startLayby } from '../rig/layby.ts';
import { freePort } from '../rig/ports.ts';
import { between, oneOf, type Random, randomFrom } from '../rig/random.ts';
import { exchange, valuesOf } from '../rig/raw-http.ts';
import { testdir } from '../rig/testdir.ts';

const SEEDS = process.env.LAYBY_SEED ? [Number(process.env.LAYBY_SEED)] : [1, 2];
const REQUESTS = Number(process.env.LAYBY_REQUESTS ?? 400);
const AT_ONCE = 8;
const RULES = 12;
const HOUR_MS = 3_600_000;

t.setTimeout(600_000);

const STEPS = [
  'a',
  'A',
  'b',
  '',
  '.',
  '..',
  '%2e',
  '%2E',
  '%2f',
  '%61',
  'a.b',
  'a;x',
  '%00',
  '%C3%A9',
  '~',
  "'",
  '\\',
  '+',
  '*',
];
const QUERIES = ['', '', '', '?', '?a', '?/a', '?a=/b?c', '?%61'];
const REGEXES = [
  ...[
    '/a',
    '/.*',
    '/[a-z]+',
    '/(a|b)/.*',
    '.*b',
    '/a.?',
    '(?i)/a',
    '/\\w+',
    '/[^/]*',
    '/.*\\.\\.',
    '/%..',
    '/(a)?',
    '/a|/b',
    '^/a$',
  ],
  ...[
    '/\\pL+',
    '/[[:alpha:]]',
    '/a\\z',
    '(?s)/.*',
    '/\\x61',
    '/a{1,2}',
    '/.',
    '\\Q/a.b\\E',
    '(?U)/a+',
    '/a$|/b',
  ],
];
const METHODS = ['PUT', 'POST', 'PATCH', 'DELETE'];
const HOSTS = [
  'a.example',
  '*.a.example',
  'b.a.example',
  '*.b.a.example',
  '127.0.0.1',
  '[::1]',
  'localhost',
  'a_b.example',
  '1.example',
];
const ASKED = [
  ...[
    'a.example',
    'A.Example',
    'a.example.',
    'a.example:80',
    'a.example:',
    'x.a.example',
    'y.x.a.example',
    'b.a.example',
    'x.b.a.example',
  ],
  ...[
    '127.0.0.1',
    '127.1',
    '[::1]',
    '[::1]:8080',
    '[0:0::1]',
    '[0000:0000:0000:0000:0000:0000:0000:0001]',
    'LOCALHOST',
    'a_b.example',
  ],
  ...['1.example', 'example', '.a.example', 'b.a.example.:1', '*.a.example', 'aa.example'],
];

const pathOf = (random: Random): string =>
  Array.from({ length: between(random, [1, 3]) }, () => `/${oneOf(random, STEPS)}`).join('');

const matchOf = (random: Random): object => {
  const kind = between(random, [0, 4]);
  const path =
    kind === 0
      ? { exact: pathOf(random) }
      : kind < 3
        ? { prefix: pathOf(random) }
        : kind === 3
          ? { regex: oneOf(random, REGEXES) }
          : undefined;
  const methods = random() < 0.5 || !path ? [oneOf(random, METHODS), oneOf(random, METHODS)] : undefined;
  const apps = random() < 0.2 ? { nodes: [oneOf(random, ['local', 'nobody'])] } : undefined;
  return { ...(path && { path }), ...(methods && { methods }), ...(apps && { apps }) };
};

/** Of each rule the answer says its number, which Envoy puts there, and so does the life of the entry, which the queue does. Number 0:
 *  no rule. */
const marked = (number: number) => ({
  headers: { response: { set: [`X-Rule: ${number}`] } },
  store: { mode: 'always', ttl: `${number + 1}h` },
});

const documentOf = (random: Random, host: string, number: number, upstream: string): string =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Destination',
    metadata: { name: `d${number}` },
    spec: {
      hosts: [host],
      upstream: { url: upstream },
      ...marked(0),
      rules: Array.from({ length: RULES }, (_, i) => ({ match: matchOf(random), ...marked(i + 1) })),
    },
  });

interface Asked {
  line: string;
  status: number;
  /** As Envoy has it. */
  rule: string | undefined;
  id: string | undefined;
}

t.test('the queue judges by the rule that Envoy chose', async (t) => {
  for (const seed of SEEDS) {
    const random = randomFrom(seed);
    const nobody = `http://127.0.0.1:${await freePort()}`;
    const layby = await startLayby({
      data: join(testdir(t), `d${seed}`),
      policy: HOSTS.map((host, i) => documentOf(random, host, i, nobody)).join('\n---\n'),
    });
    const asked: Asked[] = [];
    let left = REQUESTS;
    const app = async () => {
      while (left-- > 0) {
        const line = `${oneOf(random, METHODS)} ${pathOf(random)}${oneOf(random, QUERIES)} ${oneOf(random, ASKED)}`;
        const [method, path, host] = line.split(' ');
        const bytes = `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1\r\n\r\nx`;
        const { answers } = await exchange(layby.outbound, bytes, { answers: 1 });
        const { status = 0, headers = [] } = answers[0] ?? {};
        asked.push({
          line,
          status,
          rule: valuesOf(headers, 'x-rule')[0],
          id: valuesOf(headers, 'layby-entry')[0],
        });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, app));
    const wrong: string[] = [];
    const statuses = new Map<number, number>();
    const rules = new Set<string>();
    for (const { line, status, rule, id } of asked) {
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (id === undefined) {
        if (status !== 421 && status !== 400) wrong.push(`${line}: ${status}, and nothing was stored`);
        continue;
      }
      const entry = await (await fetch(`http://${layby.admin}/v1/queue/entries/${id}`)).json();
      const { ttlMs, destination } = entry as { ttlMs: number; destination: string };
      rules.add(`${destination} ${rule}`);
      const judged = ttlMs / HOUR_MS - 1;
      if (String(judged) !== rule)
        wrong.push(`${line}: rule ${rule} of Envoy, ${judged} of the queue (${destination})`);
    }
    t.same(wrong.slice(0, 5), [], `LAYBY_SEED=${seed}`);
    t.comment(`seed ${seed}: ${JSON.stringify([...statuses])}, ${rules.size} rules`);
    t.ok(rules.size > RULES, 'many rules were in force');
    await layby.kill9('all');
  }
});
