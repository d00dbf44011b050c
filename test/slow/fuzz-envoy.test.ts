// What the policy's form lets an operator write, Envoy takes: documents made of the schema itself, with every field and odd values, and
// those that the parser takes are judged by the real Envoy. One that Envoy refused would be found in the vehicle.
//
// LAYBY_SEED repeats one seed, LAYBY_ROUNDS says how many documents each seed tries.

import t from 'tap';
import { stringify } from 'yaml';
import { resourcesFor } from '../../src/control-plane/resources/resources.ts';
import type { Sidecar } from '../../src/control-plane/resources/sidecar.ts';
import { staticConfig } from '../../src/control-plane/resources/static-config.ts';
import { ASSUMED_QUEUE, assumedSidecar } from '../../src/embedded/assumed.ts';
import { trustedCa } from '../../src/embedded/bootstrap.ts';
import { Authority } from '../../src/identity/authority.ts';
import { writeCredential } from '../../src/identity/files.ts';
import { DEFAULT_TRUST_DOMAIN, sidecarId } from '../../src/identity/spiffe.ts';
import { findEnvoy } from '../../src/parts/envoy.ts';
import { envoyRefusal } from '../../src/parts/envoy-validate.ts';
import { canonicalHost } from '../../src/policy/host.ts';
import { PolicyError, parsePolicy } from '../../src/policy/parse.ts';
import { API_VERSION } from '../../src/policy/schema/forms.ts';
import { DESTINATION_JSON_SCHEMA, type JsonSchema, SERVICE_JSON_SCHEMA } from '../../src/policy/schema.ts';
import { between, oneOf, type Random, randomFrom } from '../rig/random.ts';
import { testdir } from '../rig/testdir.ts';

const SEEDS = process.env.LAYBY_SEED ? [Number(process.env.LAYBY_SEED)] : [1, 2];
const ROUNDS = Number(process.env.LAYBY_ROUNDS ?? 600);
/** Documents that one Envoy judges. */
const TOGETHER = 40;

t.setTimeout(600_000);

/** What a field with a pattern may be is drawn from these: those that it lets pass. */
const TEXTS = [
  // Durations, sizes, rates.
  '1ms 49ms 50ms 1s 1.5s 1.999s 2s 90s 15m 12h 7d 36500d 999999999d',
  '1B 1.5kB 500MB 20GiB 8TiB 9000TiB 1bit/s 8bit/s 8Mbit/s 500KiB/s 9999TiB/s',
  // Names and hosts.
  'a A 0 a-b a_b _ - dashcam a.b a..b . .. .svc 127.1 1.2.3.4 256.1.1.1 0x7f.1 localhost xn--a',
  '*.a *.1.2.3.4 *.a_b [::1] [::] [::ffff:1.2.3.4] [1:2:3] [v1.x] a.svc map.fleet.svc map.fleet.svc.cluster.local',
  'x'.repeat(63),
  // Addresses.
  '127.0.0.1:8080 a:0 a:1 a:65535 a:65536 [::1]:80 []:80 [1:2:3]:80 256.1.1.1:80 map.fleet.svc:8080 .:1',
  // URLs.
  'http://a http://a:0 http://a:99999 http://a/ http://a// http://a/b/../c http://a/%zz http://a:b http://*.a http://é',
  'https://a/b https://[::1] https://[::1]:8443/b https://[1:2 https://a_b https://A.B/C http://a. http://a/é',
  'https://1.2.3.4 https://127.1 http://map.fleet.svc http://a/{b} http://a/%s http://a/%REQ(X)%',
  'http://a/\\1 http://a/$1 http://a/" http://a/\'',
  // Paths and patterns.
  '/ // /a /a/ /.. /%2e /a% /" /\\ /{n} {path}/{n} {path}{n}{n} /{n}%',
  '.* ( [a a{99999} (?=a) (a+)+$ \\d \\1 (?P<a>b) (?i)/A /[^/]+ ^/a$ \\C',
  // Header names.
  "X-A host Host content-length te layby-entry x-envoy-a :path authorization x'y",
  // Others.
  'PUT put GET CONNECT OPTIONS M-SEARCH team=video a= a/b.c=d s3 eu-west-1',
  'spiffe://a/b spiffe://layby.local/node/a fleet.camera',
]
  .flatMap((line) => line.split(' '))
  .concat(
    'X-A: b',
    'x-a:b',
    'X-A: %',
    'X-A: %%',
    'X-A: %REQ(X)%',
    'X-A: %NO%',
    'X-A: "',
    "X-A: '",
    'X-A: ]]',
    'X-A: \\',
  )
  .concat('Host: a', 'Content-Length: 5', ':path: /', 'layby-entry: x', 'Transfer-Encoding: chunked');

/** Of a schema; a field that may be left out is mostly left out. */
const valueFor = (random: Random, schema: JsonSchema): unknown => {
  if (schema.enum) return oneOf(random, schema.enum);
  if (schema.type === 'integer') {
    const { minimum = 0, maximum = 100 } = schema;
    return oneOf(random, [minimum, maximum, between(random, [minimum, maximum])]);
  }
  if (schema.type === 'array') {
    const most = Math.min(schema.maxItems ?? 3, 3);
    const length = between(random, [schema.minItems ?? 0, Math.max(schema.minItems ?? 0, most)]);
    return Array.from({ length }, () => valueFor(random, schema.items!));
  }
  if (schema.type === 'string') {
    const pattern = new RegExp(schema.pattern ?? '');
    return oneOf(
      random,
      TEXTS.filter((text) => pattern.test(text) && text.length <= (schema.maxLength ?? 1e9)),
    );
  }
  const fields = Object.entries(schema.properties ?? {}).filter(
    ([name]) => schema.required?.includes(name) || random() < 0.3,
  );
  return Object.fromEntries(fields.map(([name, field]) => [name, valueFor(random, field)]));
};

interface Document {
  kind: string;
  metadata: { name: string };
  spec: Record<string, unknown> & { hosts: string[] };
}

/** With hosts and a port of its own, so that many go into one policy. Envoy's patches are the operator's. */
const documentOf = (random: Random, number: number, claimed: Set<string>): Document => {
  const document = valueFor(
    random,
    oneOf(random, [DESTINATION_JSON_SCHEMA, DESTINATION_JSON_SCHEMA, SERVICE_JSON_SCHEMA]),
  ) as Document;
  const { metadata, spec } = document;
  metadata.name = `n${number}`;
  delete spec.envoy;
  const odd = spec.hosts.map(canonicalHost).filter((host) => !claimed.has(host));
  for (const host of odd) claimed.add(host);
  spec.hosts = [...new Set(odd), `h${number}.example`, `*.w${number}.example`];
  if (typeof spec.address === 'string') spec.address = spec.address.replace(/[0-9]+$/, `${2000 + number}`);
  return document;
};

const MESH = {
  apiVersion: API_VERSION,
  kind: 'Mesh',
  metadata: { name: 'mesh' },
  spec: { passthrough: 'allow' },
};

const policyOf = (documents: readonly object[]) =>
  parsePolicy([{ path: 'p.yaml', text: documents.map((document) => stringify(document)).join('---\n') }]);

t.test('what the parser takes, Envoy takes', async (t) => {
  const envoy = await findEnvoy();
  const dir = testdir(t);
  const ca = await trustedCa(dir);
  const authority = await Authority.open(dir, DEFAULT_TRUST_DOMAIN);
  const credential = await authority.issue(sidecarId(DEFAULT_TRUST_DOMAIN, 'a'), 3_600_000);
  await writeCredential(dir, credential, authority.bundle);
  const refusal = async (documents: readonly Document[]): Promise<string | undefined> => {
    for (const node of ['a', 'dashcam']) {
      const policy = policyOf(node === 'a' ? documents : [...documents, MESH]);
      const sidecar: Sidecar = {
        ...assumedSidecar({ node, labels: ['team=video'] }, ca),
        outboundTls: { unix: '/t' },
        certificates: { dir },
      };
      const config = staticConfig(resourcesFor(policy, sidecar, ASSUMED_QUEUE));
      const words = await envoyRefusal(envoy, config).catch((error: Error) => error.message);
      if (words !== undefined) return words;
    }
    return undefined;
  };
  for (const seed of SEEDS) {
    const random = randomFrom(seed);
    const claimed = new Set<string>();
    const taken: Document[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const document = documentOf(random, round, claimed);
      try {
        policyOf([document]);
        taken.push(document);
      } catch (error) {
        if (!(error instanceof PolicyError)) throw error;
      }
    }
    for (let from = 0; from < taken.length; from += TOGETHER) {
      const some = taken.slice(from, from + TOGETHER);
      const together = await refusal(some);
      if (together === undefined) continue;
      t.fail(`seed ${seed}: ${together}`);
      for (const one of some) {
        const words = await refusal([one]);
        if (words !== undefined) t.fail(`seed ${seed}: ${words}`, { document: stringify(one) });
      }
    }
    t.ok(taken.length > ROUNDS / 10, `seed ${seed}: ${taken.length} of ${ROUNDS} were taken`);
  }
});
