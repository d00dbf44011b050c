// The built-in certificate authority: what it issues is what TLS takes, and its roots change without a moment in which two parts of
// the mesh do not trust each other.

import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import t, { type Test } from 'tap';
import { Authority, type Credential } from '../../src/identity/authority.ts';
import { idOfNames, sidecarId } from '../../src/identity/spiffe.ts';
import { LaybyError } from '../../src/telemetry/error.ts';
import { testdir } from '../rig/testdir.ts';

const DOMAIN = 'fleet.example';
const DAY = 24 * 3_600_000;

interface Party {
  credential: Credential;
  roots: string;
}

/** Both sides ask for a certificate. Resolves to the SPIFFE ids that each saw, or rejects with the error of the one who refused. */
async function handshake(t: Test, server: Party, client: Party): Promise<(string | undefined)[]> {
  const options = ({ credential, roots }: Party) => ({
    cert: credential.certificate,
    key: credential.key,
    ca: roots,
  });
  const listener = createServer({ ...options(server), requestCert: true, rejectUnauthorized: true });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.teardown(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  const seen = new Promise<string | undefined>((resolve, reject) => {
    listener.once('secureConnection', (socket) => {
      resolve(idOfNames(socket.getPeerCertificate().subjectaltname));
      socket.end();
    });
    listener.once('tlsClientError', reject);
  });
  const socket = connect({
    port,
    host: '127.0.0.1',
    ...options(client),
    checkServerIdentity: () => undefined,
  });
  try {
    const [atServer] = await Promise.all([seen, once(socket, 'secureConnect')]);
    return [idOfNames(socket.getPeerCertificate().subjectaltname), atServer];
  } finally {
    socket.destroy();
  }
}

t.test('two parts of one mesh prove to each other who they are; a stranger proves nothing', async (t) => {
  const authority = await Authority.open(testdir(t), DOMAIN);
  const [edge, camera] = [sidecarId(DOMAIN, 'edge'), sidecarId(DOMAIN, 'camera')];
  const party = async (id: string) => ({
    credential: await authority.issue(id, DAY),
    roots: authority.bundle,
  });
  t.same(await handshake(t, await party(edge), await party(camera)), [edge, camera]);

  const other = await Authority.open(join(t.testdirName, 'other'), DOMAIN);
  const stranger = { credential: await other.issue(camera, DAY), roots: authority.bundle };
  await t.rejects(handshake(t, await party(edge), stranger));
  const old = {
    credential: await authority.issue(camera, DAY, Date.now() - 2 * DAY),
    roots: authority.bundle,
  };
  await t.rejects(handshake(t, old, await party(edge)), { code: 'CERT_HAS_EXPIRED' });
});

t.test('a certificate is valid on a machine whose clock was never set', async (t) => {
  const authority = await Authority.open(testdir(t), DOMAIN);
  const { certificate, expiresAt } = await authority.issue(sidecarId(DOMAIN, 'camera'), DAY);
  const { validFrom, validTo } = new X509Certificate(certificate);
  t.ok(Date.parse(validFrom) < Date.parse('2010-01-01'));
  t.equal(Date.parse(validTo), expiresAt);
});

t.test(
  'a new root comes in two steps, and at each of them old and new certificates trust each other',
  async (t) => {
    const authority = await Authority.open(testdir(t), DOMAIN);
    const party = async () => ({
      credential: await authority.issue(sidecarId(DOMAIN, 'camera'), DAY),
      roots: authority.bundle,
    });
    let before = await party();
    for (const step of ['added', 'signing', 'added', 'signing']) {
      t.equal(await authority.rotate(), step);
      const after = await party();
      await t.resolves(handshake(t, before, after), `${step}: new to old`);
      await t.resolves(handshake(t, after, before), `${step}: old to new`);
      before = after;
    }
    t.equal(authority.bundle.match(/BEGIN/g)?.length, 2, 'the first root is forgotten');
  },
);

t.test('who opens it at the same moment gets the same roots, and only the owner may read them', async (t) => {
  const dir = join(testdir(t), 'identity');
  const opened = await Promise.all(Array.from({ length: 8 }, () => Authority.open(dir, DOMAIN)));
  t.equal(new Set(opened.map(({ bundle }) => bundle)).size, 1);
  t.equal((await stat(join(dir, 'authority.json'))).mode & 0o077, 0);
});

t.test('what was rotated elsewhere is read again', async (t) => {
  const dir = testdir(t);
  const [one, other] = [await Authority.open(dir, DOMAIN), await Authority.open(dir, DOMAIN)];
  t.equal(await one.reload(), false);
  await other.rotate();
  t.equal(await one.reload(), true);
  t.equal(one.bundle, other.bundle);
});

t.test('a damaged authority is refused in words, and never made anew by itself', async (t) => {
  const dir = testdir(t);
  await Authority.open(dir, DOMAIN);
  const path = join(dir, 'authority.json');
  const good = await readFile(path, 'utf8');
  const roots = JSON.parse(good).roots as { key: string }[];
  const bad: Record<string, string> = {
    'cut short': good.slice(0, 200),
    'of another version': good.replace('"format":1', '"format":2'),
    'without roots': good.replace(/"roots":\[.*\]/s, '"roots":[]'),
    'with a key that is none': good.replace(JSON.stringify(roots[0]!.key), '"none"'),
  };
  for (const [what, text] of Object.entries(bad)) {
    await writeFile(path, text);
    await t.rejects(
      Authority.open(dir, DOMAIN),
      { code: 'LAYBY_AUTHORITY_UNUSABLE', remedy: /restore/ },
      what,
    );
    t.equal(await readFile(path, 'utf8'), text);
  }
  await writeFile(path, good);
  await t.rejects(Authority.open(dir, 'other.example'), { message: /trust domain fleet.example/ });
});

t.test('only what can stand in a SPIFFE id is a node', async (t) => {
  t.equal(sidecarId(DOMAIN, 'truck-7.left_cam'), 'spiffe://fleet.example/node/truck-7.left_cam');
  for (const node of ['', '.', '..', 'a/b', 'a b', 'ä', 'a%20b'])
    t.throws(() => sidecarId(DOMAIN, node), LaybyError, node);
  t.equal(idOfNames('DNS:a, URI:spiffe://x/node/a'), 'spiffe://x/node/a');
  t.equal(idOfNames('URI:spiffe://x/node/a, URI:spiffe://x/node/b'), undefined, 'two names are none');
  t.equal(idOfNames('URI:https://x/node/a'), undefined);
  t.equal(idOfNames(undefined), undefined);
});
