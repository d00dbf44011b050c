// The certificates of the webhooks over the years: at every step what is served is trusted by the bundle of that step, and by the one before.

import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:tls';
import t from 'tap';
import {
  AUTHORITY_LIFE_MS,
  renewWebhookTls,
  SERVER_LIFE_MS,
  type WebhookTls,
} from '../../src/admission/webhook-tls.ts';

const HOSTS = ['layby-cluster.layby-system.svc', '127.0.0.1'];
const DAY_MS = 24 * 60 * 60 * 1000;

const isTrusted = ({ certificate }: WebhookTls, { bundle }: WebhookTls): boolean => {
  const server = new X509Certificate(certificate);
  return (bundle.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []).some((pem) => {
    const authority = new X509Certificate(pem);
    return server.checkIssued(authority) && server.verify(authority.publicKey);
  });
};

t.test('it is what a TLS client trusts that knows the bundle, by name and by address', async (t) => {
  const tls = (await renewWebhookTls(undefined, HOSTS, Date.now()))!;
  const server = createServer({ cert: tls.certificate, key: tls.key }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  for (const servername of HOSTS) {
    const socket = connect({
      ...{ host: '127.0.0.1', port, ca: tls.bundle },
      ...(servername.startsWith('127') ? {} : { servername }),
    });
    await once(socket, 'secureConnect');
    socket.destroy();
  }
  t.equal(await renewWebhookTls(tls, HOSTS, Date.now()), undefined, 'there is nothing to do then');
});

t.test('for 25 years, looked at each 10 days, no step breaks trust', async (t) => {
  let now = Date.UTC(2026, 0, 1);
  let tls = (await renewWebhookTls(undefined, HOSTS, now))!;
  let [servers, authorities] = [1, 1];
  const end = now + 2.5 * AUTHORITY_LIFE_MS;
  for (; now < end; now += 10 * DAY_MS) {
    const next = await renewWebhookTls(tls, HOSTS, now);
    if (!next) continue;
    if (!isTrusted(next, tls) || !isTrusted(tls, next) || !isTrusted(next, next))
      t.fail(new Date(now).toISOString());
    servers += next.certificate === tls.certificate ? 0 : 1;
    authorities += next.authorityKey === tls.authorityKey ? 0 : 1;
    t.ok(Date.parse(new X509Certificate(next.certificate).validTo) > now);
    tls = next;
  }
  t.ok(servers > (2.5 * AUTHORITY_LIFE_MS) / SERVER_LIFE_MS, `${servers} certificates`);
  t.equal(authorities, 4);
  t.ok(tls.bundle.match(/BEGIN/g)!.length <= 2, 'an authority that has ended is not trusted for ever');
});

t.test('a certificate that has ended, is for other hosts or is broken is made again', async (t) => {
  const now = Date.now();
  const tls = (await renewWebhookTls(undefined, HOSTS, now))!;
  const late = (await renewWebhookTls(tls, HOSTS, now + 2 * SERVER_LIFE_MS))!;
  t.equal(late.bundle, tls.bundle);
  t.not(late.certificate, tls.certificate);
  const moved = (await renewWebhookTls(tls, ['layby-cluster.other.svc'], now))!;
  t.equal(moved.bundle, tls.bundle);
  t.match(new X509Certificate(moved.certificate).subjectAltName, /layby-cluster\.other\.svc/);
  for (const broken of [
    { ...tls, key: tls.authorityKey },
    { ...tls, bundle: 'x' },
    { ...tls, certificate: '' },
    { ...tls, authorityKey: 'x' },
  ]) {
    const made = (await renewWebhookTls(broken, HOSTS, now))!;
    t.ok(isTrusted(made, made));
  }
});
