// Certificates in use are kept fresh: before they are old, when the authority was rotated, and after a time in which it could not
// be read.

import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { Authority, type Credential } from '../../src/identity/authority.ts';
import { Identities } from '../../src/identity/identities.ts';
import { testdir } from '../rig/testdir.ts';

const DOMAIN = 'fleet.example';
const ID = 'spiffe://fleet.example/node/camera';

function scene(t: Test, life: number) {
  const dir = testdir(t);
  const identities = new Identities({
    trustDomain: DOMAIN,
    authority: () => Authority.open(dir, DOMAIN),
    log: pino({ level: 'silent' }),
    life,
    look: 20,
  });
  t.teardown(() => identities.close());
  const told: { credential: Credential; roots: string }[] = [];
  let tell: () => void = () => {};
  const end = identities.use(ID, (credential, roots) => {
    told.push({ credential, roots });
    tell();
  });
  /** Resolves when it was told so often. */
  const until = async (times: number): Promise<void> => {
    const awake = setInterval(() => {}, 1000); // the one inside keeps no process alive
    await new Promise<void>((resolve) => {
      tell = () => {
        if (told.length >= times) resolve();
      };
      tell();
    });
    clearInterval(awake);
  };
  return { dir, identities, told, until, end };
}

t.test('a certificate is renewed when half of its life is over', async (t) => {
  const { told, until } = scene(t, 2000);
  await until(3);
  for (const [i, { credential }] of told.entries()) {
    const next = told[i + 1];
    if (next) t.not(next.credential.certificate, credential.certificate);
    t.ok(credential.expiresAt > Date.now() - 2000);
  }
});

t.test('who comes later is told at once, and who left is told no more', async (t) => {
  const { identities, told, until, end } = scene(t, 3_600_000);
  await until(1);
  let now: Credential | undefined;
  const leave = identities.use(ID, (credential) => {
    now = credential;
  });
  t.equal(now, told[0]!.credential);
  end();
  leave();
  await identities.close();
  t.equal(told.length, 1);
});

t.test('a rotated authority renews all of them, with both roots', async (t) => {
  const { dir, told, until } = scene(t, 3_600_000);
  await until(1);
  await (await Authority.open(dir, DOMAIN)).rotate();
  await until(2);
  t.match(told[1]!.roots, told[0]!.roots);
  t.not(told[1]!.roots, told[0]!.roots);
});

t.test('an authority that cannot be read takes nothing away, and goes on when it is back', async (t) => {
  const { dir, told, until } = scene(t, 2000);
  await until(1);
  const [path, away] = [join(dir, 'authority.json'), join(dir, 'away')];
  await rename(path, away);
  await until(2);
  t.equal(told[1]!.roots, told[0]!.roots, 'what it knows is enough');
  await rename(away, path);
  await until(3);
});
