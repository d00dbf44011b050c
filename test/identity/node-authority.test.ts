// The authority of an edge node: its own until the cluster part has signed one, and then below the roots of the mesh, whose keys it never has.

import 'reflect-metadata'; // what @peculiar/x509 is wired with expects it
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import * as x509 from '@peculiar/x509';
import t, { type Test } from 'tap';
import { Authority, newAuthority, type Saved } from '../../src/identity/authority.ts';
import { makeRootCertificate } from '../../src/identity/certificates.ts';
import { INTERMEDIATE_LIFE_MS, makeRequest, signIntermediate } from '../../src/identity/intermediate.ts';
import { NodeAuthority } from '../../src/identity/node-authority.ts';
import { sidecarId } from '../../src/identity/spiffe.ts';
import { testdir } from '../rig/testdir.ts';

const DOMAIN = 'fleet.example';
const DAY = 24 * 3_600_000;
const ID = sidecarId(DOMAIN, 'camera');

interface Party {
  cert: string;
  key: string;
  ca: string;
}

const party = async (authority: NodeAuthority | Authority, roots = authority.bundle): Promise<Party> => {
  const { certificate, key } = await authority.issue(ID, DAY);
  return { cert: certificate, key, ca: roots };
};

/** Rejects where one of the two does not trust the other. */
async function handshake(t: Test, server: Party, client: Party): Promise<void> {
  const listener = createServer({ ...server, requestCert: true, rejectUnauthorized: true });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.teardown(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  const seen = new Promise<void>((resolve, reject) => {
    listener.once('secureConnection', () => resolve());
    listener.once('tlsClientError', reject);
  });
  const socket = connect({ port, host: '127.0.0.1', ...client, checkServerIdentity: () => undefined });
  try {
    await Promise.all([seen, once(socket, 'secureConnect')]);
  } finally {
    socket.destroy();
  }
}

const rootsOf = ({ roots }: Saved): string[] => roots.map(({ certificate }) => certificate);

const sign = (authority: Saved, node: NodeAuthority, now = Date.now(), certificate?: string) =>
  signIntermediate({ node: 'edge', request: node.request, certificate, authority, now });

async function signed(t: Test, dir: string, authority: Saved): Promise<NodeAuthority> {
  const node = await NodeAuthority.open(join(testdirOf(t), dir), DOMAIN, dir);
  await node.take({ certificate: await sign(authority, node), roots: rootsOf(authority) });
  return node;
}

const dirs = new WeakMap<Test, string>();
function testdirOf(t: Test): string {
  const dir = dirs.get(t) ?? testdir(t);
  dirs.set(t, dir);
  return dir;
}

const textsIn = async (dir: string): Promise<string> =>
  (await Promise.all((await readdir(dir)).map((name) => readFile(join(dir, name), 'utf8')))).join('\n');

t.test('two nodes trust each other by the roots alone; neither has a key of them', async (t) => {
  const mesh = await newAuthority(DOMAIN);
  const [one, other] = [await signed(t, 'one', mesh), await signed(t, 'other', mesh)];
  const roots = rootsOf(mesh).join('\n');
  await handshake(t, await party(one, roots), await party(other, roots));
  await handshake(t, await party(other), await party(one));
  const text = await textsIn(join(testdirOf(t), 'one'));
  for (const { key } of mesh.roots) t.notOk(text.includes(JSON.stringify(key).slice(1, -1)));
  t.notOk(existsSync(join(testdirOf(t), 'one/authority.json')), 'nor its own root');

  const stranger = await signed(t, 'stranger', await newAuthority(DOMAIN));
  await t.rejects(handshake(t, await party(one, roots), await party(stranger, roots)));
});

t.test('a node cannot make another authority', async (t) => {
  const mesh = await newAuthority(DOMAIN);
  const node = await signed(t, 'edge', mesh);
  const { certificate, key } = JSON.parse(await textsIn(join(testdirOf(t), 'edge')));
  const { ca, pathLength } = new x509.X509Certificate(certificate).getExtension(
    x509.BasicConstraintsExtension,
  )!;
  t.same([ca, pathLength], [true, 0]);
  const { signAuthority } = await import('../../src/identity/certificates.ts');
  const { key: otherKey, request } = await makeRequest('thief');
  const below = await signAuthority(
    { certificate, key },
    {
      subject: 'CN=thief',
      publicKey: new x509.Pkcs10CertificateRequest(request).publicKey,
      notAfter: new Date(Date.now() + DAY),
      uri: `spiffe://${DOMAIN}`,
    },
  );
  const { issueIdentity } = await import('../../src/identity/certificates.ts');
  const leaf = await issueIdentity({ certificate: below, key: otherKey }, ID, new Date(Date.now() + DAY));
  const roots = rootsOf(mesh).join('\n');
  const thief = { cert: [leaf.certificate, below, certificate].join('\n'), key: leaf.key, ca: roots };
  await t.rejects(handshake(t, await party(node, roots), thief));
});

t.test('before the first certificate the node works by itself; what it issued stays trusted', async (t) => {
  const node = await NodeAuthority.open(testdirOf(t), DOMAIN, 'edge');
  t.equal(node.signed, false);
  const before = await party(node);
  await handshake(t, before, before);
  const mesh = await newAuthority(DOMAIN);
  t.equal(await node.take({ roots: rootsOf(mesh) }), true, 'roots without a certificate');
  t.equal(node.signed, false);
  await node.take({ certificate: await sign(mesh, node), roots: rootsOf(mesh) });
  t.equal(await node.reload(), true, 'all certificates are issued again');
  t.equal(await node.reload(), false);
  const after = await party(node);
  await handshake(t, { ...after }, { ...before, ca: after.ca });
  // A year later by the cluster's clock.
  const later = Date.now() + INTERMEDIATE_LIFE_MS + 2 * DAY;
  await node.take({ certificate: await sign(mesh, node, later), roots: rootsOf(mesh) });
  t.equal(
    node.bundle,
    rootsOf(mesh)
      .map((pem) => pem.trim())
      .join('\n'),
    'the root from before is forgotten',
  );
});

t.test(
  'an upgrade from a copied root removes the key; old certificates and new ones trust each other',
  async (t) => {
    const dir = testdirOf(t);
    const copied = await Authority.open(dir, DOMAIN);
    const mesh = JSON.parse(await readFile(join(dir, 'authority.json'), 'utf8')) as Saved;
    const old = await party(copied);
    const node = await NodeAuthority.open(dir, DOMAIN, 'edge');
    await handshake(t, await party(node), old);
    t.ok(existsSync(join(dir, 'authority.json')), 'until there is a certificate');
    await node.take({ certificate: await sign(mesh, node), roots: rootsOf(mesh) });
    t.notOk(existsSync(join(dir, 'authority.json')));
    t.notOk((await textsIn(dir)).includes(JSON.stringify(mesh.roots[0]!.key).slice(1, -1)));
    await handshake(t, await party(node), old);
    await handshake(t, old, await party(node));
  },
);

t.test('it goes on after a restart, cut off, with a clock that is years behind', async (t) => {
  const mesh = await newAuthority(DOMAIN);
  await signed(t, 'edge', mesh);
  const again = await NodeAuthority.open(join(testdirOf(t), 'edge'), DOMAIN, 'edge');
  t.equal(again.signed, true);
  await handshake(t, await party(again), await party(again));
  const [, authority = ''] = (await again.issue(ID, DAY, Date.parse('2012-01-01'))).certificate.split(
    /(?<=END CERTIFICATE-----)\s/,
  );
  t.ok(Date.parse(new X509Certificate(authority).validFrom) < Date.parse('2010-01-01'));
});

t.test('nothing is good for longer than the authority of the node', async (t) => {
  const node = await signed(t, 'edge', await newAuthority(DOMAIN));
  const { expiresAt } = await node.issue(ID, 2 * INTERMEDIATE_LIFE_MS);
  t.equal(expiresAt, node.end);
});

t.test('it is renewed after a third of its life, and when the roots have rotated', async (t) => {
  const dir = testdirOf(t);
  const rotating = await Authority.open(join(dir, 'mesh'), DOMAIN);
  const saved = async () => JSON.parse(await readFile(join(dir, 'mesh/authority.json'), 'utf8')) as Saved;
  const node = await NodeAuthority.open(join(dir, 'edge'), DOMAIN, 'edge');
  const now = Date.now();
  const first = await sign(await saved(), node, now);
  t.equal(await sign(await saved(), node, now + INTERMEDIATE_LIFE_MS * 0.3, first), first);
  t.not(await sign(await saved(), node, now + INTERMEDIATE_LIFE_MS * 0.34, first), first);
  await rotating.rotate();
  t.equal(await sign(await saved(), node, now, first), first, 'only added');
  await rotating.rotate();
  t.not(await sign(await saved(), node, now, first), first);
});

t.test(
  'rotation of the roots: at each step nodes that have it and nodes that have not trust each other',
  async (t) => {
    const dir = testdirOf(t);
    const rotating = await Authority.open(join(dir, 'mesh'), DOMAIN);
    const saved = async () => JSON.parse(await readFile(join(dir, 'mesh/authority.json'), 'utf8')) as Saved;
    const [first, second] = [
      await signed(t, 'first', await saved()),
      await signed(t, 'second', await saved()),
    ];
    for (let step = 0; step < 4; step += 1) {
      await rotating.rotate();
      for (const node of [first, second]) {
        const mesh = await saved();
        await node.take({ certificate: await sign(mesh, node), roots: rootsOf(mesh) });
        await handshake(t, await party(first), await party(second));
        await handshake(t, await party(second), await party(first));
      }
    }
  },
);

t.test('a request that is not right is refused', async (t) => {
  const authority = await newAuthority(DOMAIN);
  const { request } = await makeRequest('edge');
  const raw = Buffer.from(new x509.Pkcs10CertificateRequest(request).rawData);
  raw[raw.length - 3]! ^= 1;
  const forged = x509.PemConverter.encode(new Uint8Array(raw).buffer, 'CERTIFICATE REQUEST');
  const named = async (algorithm: object) => {
    const keys = (await crypto.subtle.generateKey(algorithm as never, true, ['sign', 'verify'])) as never;
    const made = await x509.Pkcs10CertificateRequestGenerator.create({
      ...{ name: 'CN=edge', keys, signingAlgorithm: { ...algorithm, hash: 'SHA-256' } as never },
    });
    return made.toString('pem');
  };
  const bad = {
    'signed with another key': forged,
    'of another curve': await named({ name: 'ECDSA', namedCurve: 'P-384' }),
    'no request': 'none',
    'too long': request.repeat(9),
  };
  for (const [what, each] of Object.entries(bad))
    await t.rejects(
      signIntermediate({ node: 'edge', request: each, certificate: undefined, authority, now: 0 }),
      { code: 'LAYBY_IDENTITY_REFUSED' },
      what,
    );
});

t.test('below a root that allows no authority nothing is signed, and it is said what to do', async (t) => {
  const notAfter = new Date(Date.now() + DAY);
  const root = await makeRootCertificate({ name: 'CN=old', notAfter, pathLength: 0 });
  const { request } = await makeRequest('edge');
  const authority = { format: 1, trustDomain: DOMAIN, roots: [root], signing: 0 };
  await t.rejects(signIntermediate({ node: 'edge', request, certificate: undefined, authority, now: 0 }), {
    code: 'LAYBY_IDENTITY_REFUSED',
    remedy: /layby identity rotate/,
  });
});

t.test('a certificate for another key, or by none of the roots, is not used', async (t) => {
  const mesh = await newAuthority(DOMAIN);
  const node = await NodeAuthority.open(testdirOf(t), DOMAIN, 'edge');
  const { request } = await makeRequest('other');
  const strange = await signIntermediate({
    ...{ node: 'other', request, certificate: undefined, authority: mesh, now: Date.now() },
  });
  await node.take({ certificate: strange, roots: rootsOf(mesh) });
  t.equal(node.signed, false);
  const certificate = await sign(await newAuthority(DOMAIN), node);
  await t.rejects(node.take({ certificate, roots: rootsOf(mesh) }), { code: 'LAYBY_IDENTITY_REFUSED' });
  t.equal(node.signed, false);
});
