// Bodies in S3's own framing, made and twisted by a seed: sizes, signatures, trailers, checksums, lengths, cuts. What is stored, or
// passed on, is the payload that a reader of the whole body finds in it, and never its frames; what that reader refuses is refused as S3
// refuses, and leaves nothing behind.
//
// LAYBY_SEED repeats one seed, LAYBY_REQUESTS says how many requests it sends. A seed that has found something stays in SEEDS.

import { createHash, randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { crc32, crc32c } from '@node-rs/crc32';
import t, { type Test } from 'tap';
import { bucketOf, xml } from '../queue/s3/bucket.ts';
import { scene } from '../queue/scene.ts';
import { between, oneOf, type Random, randomFrom } from '../rig/random.ts';
import { testdir } from '../rig/testdir.ts';

const SEEDS = process.env.LAYBY_SEED ? [Number(process.env.LAYBY_SEED)] : [1, 2, 3, 4];
const REQUESTS = Number(process.env.LAYBY_REQUESTS ?? 3000);
const AT_ONCE = 8;

t.setTimeout(600_000);

const four = (sum: number): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(sum);
  return bytes.toString('base64');
};
const SUMS: Record<string, (payload: Buffer) => string> = {
  'x-amz-checksum-crc32': (payload) => four(crc32(payload)),
  'x-amz-checksum-crc32c': (payload) => four(crc32c(payload)),
  'x-amz-checksum-sha1': (payload) => createHash('sha1').update(payload).digest('base64'),
  'x-amz-checksum-sha256': (payload) => createHash('sha256').update(payload).digest('base64'),
};

interface Framed {
  headers: Record<string, string>;
  /** Latin-1: one character, one byte. */
  body: string;
}

const bytesFrom = (random: Random, length: number): string =>
  Array.from({ length }, () => String.fromCharCode(between(random, [0, 255]))).join('');

/** As SDKs send it. */
const valid = (random: Random): Framed => {
  const payload = bytesFrom(random, oneOf(random, [0, 1, 9, 16, 17, 255, 256, 5000]));
  const signed = random() < 0.5;
  const sum = random() < 0.6 ? oneOf(random, Object.keys(SUMS)) : undefined;
  const signature = () => (signed ? `;chunk-signature=${bytesFrom(random, 32).replace(/./gs, 'a1')}` : '');
  const most = oneOf(random, [1, 7, 64, 8192]);
  let body = '';
  for (let at = 0; at < payload.length; ) {
    const piece = payload.slice(at, at + between(random, [1, most]));
    const size = piece.length.toString(16);
    body += `${random() < 0.2 ? size.toUpperCase().padStart(4, '0') : size}${signature()}\r\n${piece}\r\n`;
    at += piece.length;
  }
  body += `0${signature()}\r\n`;
  if (sum) {
    const end = random() < 0.2 ? '\n' : '\r\n';
    const value = SUMS[sum]!(Buffer.from(payload, 'latin1'));
    body += `${random() < 0.2 ? sum.toUpperCase() : sum}:${random() < 0.3 ? ' ' : ''}${value}${end}`;
    if (signed) body += `${end === '\n' ? '\r\n' : ''}x-amz-trailer-signature:${'ab'.repeat(32)}${end}`;
  }
  body += '\r\n';
  const kind = signed ? 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' : 'STREAMING-UNSIGNED-PAYLOAD';
  const headers: Record<string, string> = {
    'x-amz-content-sha256': `${kind}${sum || !signed ? '-TRAILER' : ''}`,
    'x-amz-decoded-content-length': String(payload.length),
    ...(random() < 0.7 && { 'content-encoding': oneOf(random, ['aws-chunked', 'gzip, AWS-Chunked']) }),
    ...(sum && { 'x-amz-trailer': sum }),
  };
  if (headers['content-encoding'] && random() < 0.1) delete headers['x-amz-content-sha256'];
  if (random() < 0.1) delete headers['x-amz-decoded-content-length'];
  return { headers, body };
};

const SNIPPETS = [
  ...['\r\n', '\n', '\r', '\0', ';', ':', ' ', '0', '-1', '+1', 'f', 'g', '0x', '0\r\n\r\n', '0\r\n'],
  ...[';chunk-signature=', ';chunk-signature=zz', ';a=b', ';chunk-signature=ab;b', '1\r\na\r\n', '5;\r\n'],
  ...['ffffffffffffff', 'fffffffffffff', 'x-amz-checksum-crc32:AAAAAA==\r\n', 'x:y\r\n', '\r\n\r\n'],
  ...['PUT /b/smuggled HTTP/1.1\r\nHost: s3.example\r\nContent-Length: 0\r\n\r\n', ' '.repeat(600)],
];

const twist = (random: Random, { headers, body }: Framed): Framed => {
  // Near a frame's edge more often than in the data.
  const edges = [...body.matchAll(/\r\n/g)].map(({ index }) => index);
  const near = random() < 0.7 && edges.length > 0 ? oneOf(random, edges) : between(random, [0, body.length]);
  const at = Math.max(0, Math.min(body.length, near + between(random, [-3, 3])));
  const to = Math.min(body.length, at + between(random, [1, 6]));
  const length = Number(headers['x-amz-decoded-content-length'] ?? 0);
  const having = (more: Record<string, string>) => ({ headers: { ...headers, ...more }, body });
  return oneOf(random, [
    () => ({ headers, body: body.slice(0, at) + oneOf(random, SNIPPETS) + body.slice(at) }),
    () => ({ headers, body: body.slice(0, at) + oneOf(random, SNIPPETS) + body.slice(to) }),
    () => ({ headers, body: body.slice(0, at) + body.slice(to) }),
    () => ({ headers, body: body.slice(0, at) + bytesFrom(random, 1) + body.slice(at + 1) }),
    () => ({ headers, body: body.slice(0, at) }),
    () => ({ headers, body: body.slice(at) }),
    () => ({ headers, body: body + body.slice(at) }),
    () => having({ 'x-amz-decoded-content-length': String(length + between(random, [-1, 1])) }),
    () => having({ 'x-amz-decoded-content-length': oneOf(random, ['x', '1e3', '-1', '9'.repeat(20), '']) }),
    () => having({ 'x-amz-trailer': oneOf(random, [...Object.keys(SUMS), 'x', 'x-amz-meta-a', '']) }),
    () => having({ 'x-amz-checksum-crc32': oneOf(random, ['AAAAAA==', 'x', '']) }),
    () => having({ 'content-md5': oneOf(random, ['x', 'AAAAAAAAAAAAAAAAAAAAAA==']) }),
  ])();
};

/** The payload of a whole body, or undefined where it is not one. */
const payloadOf = ({ headers, body }: Framed): Buffer | undefined => {
  const isFramed = 'x-amz-content-sha256' in headers || 'x-amz-decoded-content-length' in headers;
  // The token of content-encoding alone says nothing of frames.
  return isFramed ? unframed(headers, body) : verified(headers, Buffer.from(body, 'latin1'));
};

const unframed = (headers: Framed['headers'], body: string): Buffer | undefined => {
  const frame = /([0-9a-f]{1,13})(?:;chunk-signature=[0-9a-f]+\**)?\r\n/iy;
  let payload = '';
  for (let size = -1; size !== 0; ) {
    const head = frame.exec(body);
    if (!head || head[0].length > 512) return undefined;
    size = Number.parseInt(head[1]!, 16);
    if (size === 0) break;
    const end = frame.lastIndex + size;
    if (body.slice(end, end + 2) !== '\r\n') return undefined;
    payload += body.slice(frame.lastIndex, end);
    frame.lastIndex = end + 2;
  }
  const rest = body.slice(frame.lastIndex);
  if (!/^(?:[a-z0-9-]+:[^\r\n]*\r?\n|\r?\n)+$/i.test(rest)) return undefined;
  const trailers = new Map(
    rest
      .split(/\r?\n/)
      .filter((line) => line !== '')
      .map((line): [string, string] => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')];
      }),
  );
  trailers.delete('x-amz-trailer-signature');
  const announced = (headers['x-amz-trailer'] ?? '').split(',').flatMap((name) => name.trim() || []);
  if (announced.join() !== [...trailers.keys()].join()) return undefined;
  const whole = Buffer.from(payload, 'latin1');
  const length = headers['x-amz-decoded-content-length'];
  if (length !== undefined && (!/^\d{1,15}$/.test(length) || Number(length) !== whole.length))
    return undefined;
  return verified(headers, whole, trailers);
};

/** undefined: a checksum does not match. */
const verified = (
  headers: Framed['headers'],
  whole: Buffer,
  trailers: ReadonlyMap<string, string> = new Map(),
): Buffer | undefined => {
  const md5 = headers['content-md5'];
  if (md5 !== undefined && md5 !== createHash('md5').update(whole).digest('base64')) return undefined;
  const named = Object.keys(SUMS).filter((name) => headers[name] !== undefined);
  const behind = Object.keys(SUMS).filter((name) => trailers.has(name));
  if (named.length + behind.length > 1) return undefined;
  for (const name of [...named, ...behind])
    if (SUMS[name]!(whole) !== (headers[name] ?? trailers.get(name))) return undefined;
  return whole;
};

/** What S3 says of such bodies. */
const CODES = new Set([
  ...['InvalidRequest', 'IncompleteBody', 'MalformedTrailerError', 'InvalidArgument'],
  ...['BadDigest', 'InvalidDigest', 'XAmzContentSHA256Mismatch'],
]);

interface Case extends Framed {
  key: string;
  expected: Buffer | undefined;
  /** The app goes away after so many bytes. */
  torn: number | undefined;
  /** Between the pieces in which it is written. */
  cuts: number[];
}

const caseOf = (random: Random, key: string): Case => {
  let framed = valid(random);
  for (let n = oneOf(random, [0, 1, 1, 1, 2, 3]); n > 0; n -= 1) framed = twist(random, framed);
  const place = () => between(random, [0, framed.body.length]);
  return {
    ...framed,
    key,
    expected: payloadOf(framed),
    torn:
      random() < 0.05 && framed.body.length > 0 ? between(random, [0, framed.body.length - 1]) : undefined,
    cuts: Array.from({ length: between(random, [0, 3]) }, place).sort((a, b) => a - b),
  };
};

interface Said {
  status: number;
  text: string;
  etag: string | undefined;
}

/** undefined: the app went away. */
const send = (socketPath: string, { key, headers, body, torn, cuts }: Case): Promise<Said | undefined> =>
  new Promise((resolve, reject) => {
    const app = request({
      ...{ socketPath, method: 'PUT', path: `/b/${key}` },
      headers: { host: 's3.example', 'content-length': body.length, ...headers },
    });
    let answered = false;
    app.on('response', async (response) => {
      answered = true;
      let text = '';
      for await (const piece of response) text += piece;
      resolve({ status: response.statusCode!, text, etag: response.headers.etag });
    });
    app.on('error', (error) => {
      if (torn !== undefined) resolve(undefined);
      // What is refused in its middle ends the connection: the answer may still be on its way.
      else if (!answered) setImmediate(() => !answered && reject(error));
    });
    const bytes = Buffer.from(body, 'latin1');
    let at = 0;
    for (const cut of [...cuts, bytes.length].filter((place) => torn === undefined || place <= torn)) {
      app.write(bytes.subarray(at, cut));
      at = cut;
    }
    if (torn === undefined) app.end();
    else setImmediate(() => app.destroy());
  });

const run = async (t: Test, seed: number, online: boolean): Promise<void> => {
  const random = randomFrom(seed);
  const at = await scene(testdir(t), [bucketOf({ mode: online ? 'failover' : 'always', order: 'none' })]);
  t.teardown(() => at.stop());
  at.link.up = online;
  const cases = Array.from({ length: REQUESTS }, (_, i) => caseOf(random, `${i}-${randomUUID()}`));
  const faults: string[] = [];
  const counts: Record<string, number> = {};
  let next = 0;
  const app = async () => {
    while (next < cases.length) {
      const one = cases[next++]!;
      const fault = (what: string) =>
        faults.push(`${what}: ${JSON.stringify({ ...one, expected: one.expected?.toString('latin1') })}`);
      const said = await send(at.socket, one).catch((error: Error) => error);
      if (said instanceof Error) fault(said.message);
      if (said === undefined || said instanceof Error) continue;
      const code = said.status === 200 ? '200' : `${said.status} ${xml({ ...said } as never, 'Code')}`;
      counts[code] = (counts[code] ?? 0) + 1;
      if (!one.expected) {
        if (!/^4\d\d /.test(code) || !CODES.has(code.slice(4))) fault(`answered ${code}`);
      } else if (said.status !== 200) fault(`refused with ${code} ${said.text}`);
      else if (!online && said.etag !== `"${createHash('md5').update(one.expected).digest('hex')}"`)
        fault(`the tag of other bytes: ${said.etag}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, app));
  const taken = cases.filter(({ expected, torn }) => expected && torn === undefined);
  if (online) {
    // Those of unknown length are stored first.
    await at.until(() => new Set(at.sent.map(({ path }) => path)).size >= taken.length);
    const sent = new Map(at.sent.map(({ path, body }) => [path, body]));
    for (const { key, expected } of taken)
      if (!sent.get(`/b/${key}`)?.equals(expected!)) faults.push(`${key} arrived as something else`);
    const whole = new Set(taken.map(({ key }) => `/b/${key}`));
    for (const { path } of at.sent)
      if (!whole.has(path))
        faults.push(`nobody sent ${JSON.stringify(cases.find(({ key }) => path === `/b/${key}`))}`);
  } else {
    for (const { key, expected } of taken.slice(0, 500)) {
      const read = await at.ask('GET', `/b/${key}`);
      if (!read.body.equals(expected!)) faults.push(`${key} is stored as something else`);
    }
    const entries = JSON.parse((await at.admin('/v1/queue')).text) as { url: string }[];
    t.same(
      entries.map(({ url }) => url.slice('http://s3.example/b/'.length)).sort(),
      taken.map(({ key }) => key).sort(),
      'nothing else is stored',
    );
  }
  t.same(faults.slice(0, 3), []);
  t.comment(`${taken.length} of ${cases.length} were whole: ${JSON.stringify(counts)}`);
};

for (const seed of SEEDS)
  for (const online of [false, true])
    t.test(`LAYBY_SEED=${seed}, ${online ? 'passed on' : 'stored'}: the payload, or a refusal of S3`, (t) =>
      run(t, seed, online),
    );
