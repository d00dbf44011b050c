// The protocol's corners, over the wire: nonces, what a client says after a reconnect, refusals, what waits for what, and a client
// that does not read.

import t from 'tap';
import type { TypeName } from '../../src/control-plane/types.ts';
import { MODES, nameOf, serving, until, type XdsClient } from './xds-client.ts';

const SOTW = MODES.filter(({ variant }) => variant === 'sotw');
const DELTA = MODES.filter(({ variant }) => variant === 'delta');

for (const mode of MODES) {
  t.test(`${nameOf(mode)}: the first message of a stream must say who it is`, async (t) => {
    const { client, server } = await serving(t);
    const one = client(mode, {});
    one.want('cluster', []);
    t.match(await one.broken(), { code: 3, message: /no node id/ });
    t.equal(server.clients.size, 0);
  });

  t.test(`${nameOf(mode)}: who has nothing to get is told so`, async (t) => {
    const { client, shelf, quiet } = await serving(t);
    const one = client(mode);
    one.want('cluster', []);
    t.match(await one.next(), { names: [], removed: [] });
    await quiet(one);
    one.disconnect();
    await until(() => shelf.leases === 0, 'nothing is kept of who left');
  });

  t.test(`${nameOf(mode)}: while one is out, newer content is merged into the next`, async (t) => {
    const { shelf, client, push, quiet } = await serving(t);
    const one = client(mode);
    one.silent = true;
    shelf.put('route', 'A', '1');
    one.want('route', ['A', 'B']);
    await one.next();
    for (let version = 2; version < 9; version += 1) {
      shelf.put('route', 'A', String(version));
      push();
    }
    shelf.put('route', 'B', '1');
    push();
    one.silent = false;
    one.ack('route');
    t.match(await one.next(), { nonce: '2', names: ['A', 'B'] });
    await quiet(one);
    t.same(one.rest, []);
  });

  t.test(
    `${nameOf(mode)}: a refusal is kept in the client's words, and what was refused is not repeated`,
    async (t) => {
      const { shelf, client, push, server, subscription } = await serving(t);
      const one = client(mode);
      one.silent = true;
      for (const name of ['A', 'B']) shelf.put('cluster', name, '1');
      one.want('cluster', []);
      await one.next();
      one.ack('cluster');
      await until(() => server.acks === 1);
      for (const name of ['A', 'B']) shelf.put('cluster', name, '2');
      push();
      const { version } = await one.next();
      one.nack('cluster', 'Error adding cluster(s) B: no such thing');
      await until(() => server.nacks === 1);
      push();
      const [status] = server.status();
      t.match(status, {
        id: 'truck-7',
        upToDate: false,
        types: { cluster: { waiting: false, acks: 1, nacks: 1 } },
      });
      t.match(status!.types.cluster!.nack, { version, message: 'Error adding cluster(s) B: no such thing' });
      const known = subscription('cluster')!;
      const standing = (name: string) => known.standing(shelf.get('cluster').find(name)!);
      t.equal(standing('B'), 'ERROR');
      t.equal(standing('A'), mode.variant === 'delta' ? 'SYNCED' : 'STALE');
      t.equal(one.rest.length, 0, 'not in a loop');
      t.ok(await server.settled('cluster', 1), 'it has answered');
      if (mode.variant === 'delta') {
        shelf.put('cluster', 'A', '3');
        push();
        await one.next();
        one.ack('cluster');
        await until(() => server.acks === 2);
        t.equal(standing('B'), 'ERROR', 'another resource does not mend it');
      }
      shelf.put('cluster', 'B', '3');
      push();
      t.match(await one.next(), { names: mode.variant === 'delta' ? ['B'] : ['A', 'B'] });
      one.ack('cluster');
      await until(() => known.refusal === undefined);
      t.equal(standing('B'), 'SYNCED');
    },
  );
}

for (const mode of SOTW) {
  t.test(`${nameOf(mode)}: a request with an older nonce changes nothing`, async (t) => {
    const { shelf, client, push, subscription, quiet } = await serving(t);
    const one = client(mode);
    shelf.put('route', 'A', '1');
    one.want('route', ['A']);
    await one.next();
    await quiet(one);
    shelf.put('route', 'A', '2');
    shelf.put('route', 'B', '1');
    one.silent = true;
    push();
    await one.next();
    one.send('route', { resource_names: ['A', 'B'], response_nonce: '1', version_info: 'x' });
    one.silent = false;
    one.ack('route');
    await quiet(one);
    t.same([...subscription('route')!.names], ['A']);
    t.same(one.rest, []);
  });

  t.test(`${nameOf(mode)}: who comes back with what is served now is not sent it again`, async (t) => {
    const { shelf, client, quiet, subscription } = await serving(t);
    shelf.put('cluster', 'A', '1');
    shelf.put('runtime', 'holds', '1');
    shelf.put('route', 'A', '1');
    const asked: [TypeName, string[]][] = [
      ['runtime', ['holds']],
      ['cluster', []],
      ['route', ['A']],
    ];
    const versions = new Map<TypeName, string>();
    const before = client(mode);
    for (const [type, names] of asked) {
      before.want(type, names);
      versions.set(type, (await before.next()).version);
    }
    await quiet(before);
    before.disconnect();
    // A nonce of another server instance is nothing to this one.
    const one = client(mode);
    for (const [type, names] of asked)
      one.want(type, names, { version_info: versions.get(type), response_nonce: 'of another' });
    t.match(await one.next(), { type: 'route', names: ['A'] }, 'what is named may be waited for: it is sent');
    t.same(one.rest, []);
    t.equal(subscription('cluster')!.acked, versions.get('cluster'), 'and that it has it is known');
  });

  t.test(`${nameOf(mode)}: who comes back with something else is sent what is served now`, async (t) => {
    const { shelf, client } = await serving(t);
    shelf.put('cluster', 'A', '1');
    const one = client(mode);
    one.want('cluster', [], { version_info: 'of long ago' });
    t.match(await one.next(), { names: ['A'] });
  });

  t.test(
    `${nameOf(mode)}: the same request once more is answered once more, or a new listener would wait`,
    async (t) => {
      const { shelf, client, quiet } = await serving(t);
      shelf.put('route', 'A', '1');
      const one = client(mode);
      one.want('route', ['A']);
      await one.next();
      await quiet(one);
      one.want('route', ['A']);
      t.match(await one.next(), { names: ['A'] });
      await quiet(one);
      t.same(one.rest, []);
    },
  );
}

for (const mode of DELTA) {
  t.test(
    `${nameOf(mode)}: after a reconnect only what differs goes out, and what is gone is named`,
    async (t) => {
      const { shelf, client, quiet } = await serving(t);
      for (const name of ['same', 'changed', 'added']) shelf.put('listener', name, '2');
      const one = client(mode);
      one.want('listener', ['*'], {
        initial_resource_versions: [
          { key: 'same', value: '2' },
          { key: 'changed', value: '1' },
          { key: 'gone', value: '1' },
        ],
      });
      t.match(await one.next(), { versions: { changed: '2', added: '2' }, removed: ['gone'] });
      await quiet(one);
      t.same(one.rest, []);
    },
  );

  t.test(`${nameOf(mode)}: after a reconnect, who has everything is sent nothing`, async (t) => {
    const { shelf, client, server, subscription, quiet, push } = await serving(t);
    for (const name of ['A', 'B']) shelf.put('route', name, '2');
    const one = client(mode);
    one.want('route', ['A'], { initial_resource_versions: [{ key: 'A', value: '2' }] });
    await until(() => subscription('route') !== undefined);
    t.equal(server.traffic.size, 0);
    t.ok(server.clients.values().next().value!.settled('route'));
    shelf.put('route', 'A', '3');
    push();
    t.match(await one.next(), { names: ['A'] });
    await quiet(one);
  });

  t.test(
    `${nameOf(mode)}: after a reconnect, clusters that are gone wait for the routes to be asked for`,
    async (t) => {
      const { shelf, client, server, subscription } = await serving(t);
      shelf.put('cluster', 'A', '1');
      shelf.put('listener', 'L', '1');
      shelf.put('route', 'R', '2');
      const one = client(mode);
      const has = (...names: string[]) => ({
        initial_resource_versions: names.map((key) => ({ key, value: '1' })),
      });
      one.want('cluster', ['*'], has('A', 'gone'));
      await until(() => subscription('cluster') !== undefined);
      t.match(server.status()[0]!.types.cluster!.heldBack, [
        { what: 'removals', why: 'it to ask for listener again' },
      ]);
      one.want('listener', ['*'], has('L'));
      await until(() => subscription('listener') !== undefined);
      t.match(server.status()[0]!.types.cluster!.heldBack, [{ why: 'it to ask for route again' }]);
      one.want('route', ['R'], has('R'));
      t.match(await one.next(), { type: 'route', names: ['R'] });
      t.match(await one.next(), { type: 'cluster', names: [], removed: ['gone'] });
    },
  );
}

const KINDS = ['cluster', 'endpoint', 'listener', 'route', 'secret', 'runtime'] as const;

/** A sidecar that asks for everything, and has taken it. */
async function connected(client: XdsClient, quiet: (client: XdsClient) => Promise<void>): Promise<void> {
  for (const type of KINDS) {
    client.want(type, ['cluster', 'listener'].includes(type) ? [] : ['A']);
    await client.next();
  }
  await quiet(client);
}

for (const mode of MODES) {
  t.test(
    `${nameOf(mode)}: what is new goes out in order, routes once the clusters are acknowledged`,
    async (t) => {
      const { shelf, client, push, quiet, server } = await serving(t);
      for (const type of KINDS) shelf.put(type, 'A', '1');
      const one = client(mode);
      await connected(one, quiet);
      one.silent = true;
      for (const type of KINDS) shelf.put(type, 'A', '2');
      push();
      const first = [await one.next(), await one.next(), await one.next(), await one.next()];
      const types = first.map(({ type }) => type);
      if (mode.aggregated) t.same(types, ['runtime', 'cluster', 'endpoint', 'secret']);
      else t.same([...types].sort(), ['cluster', 'endpoint', 'runtime', 'secret']);
      const { heldBack } = server.status()[0]!.types.route!;
      t.match(heldBack, [{ what: 'updates', why: 'the ACK of cluster' }], 'and it is said why');
      t.ok(Math.abs(Date.now() - Date.parse(heldBack[0]!.since)) < 5_000);
      one.silent = false;
      for (const type of types) one.ack(type);
      t.same(
        [(await one.next()).type, (await one.next()).type].sort(),
        ['listener', 'route'],
        'both after the clusters',
      );
      await quiet(one);
      t.same(server.status()[0]!.types.route!.heldBack, []);
    },
  );

  t.test(`${nameOf(mode)}: a cluster is taken away after the routes are in force without it`, async (t) => {
    const { shelf, client, push, quiet, server } = await serving(t);
    for (const type of KINDS) shelf.put(type, 'A', '1');
    shelf.put('cluster', 'old', '1');
    const one = client(mode);
    await connected(one, quiet);
    one.silent = true;
    shelf.remove('cluster', 'old');
    shelf.put('cluster', 'new', '1');
    shelf.put('route', 'A', '2');
    push();
    const added = await one.next();
    t.match(added, {
      type: 'cluster',
      names: mode.variant === 'sotw' ? ['A', 'new', 'old'] : ['new'],
      removed: [],
    });
    one.ack('cluster');
    t.match(await one.next(), { type: 'route', names: ['A'] });
    t.match(server.status()[0]!.types.cluster!.heldBack, [{ what: 'removals', why: 'the ACK of route' }]);
    one.ack('route');
    t.match(
      await one.next(),
      mode.variant === 'sotw'
        ? { type: 'cluster', names: ['A', 'new'] }
        : { type: 'cluster', names: [], removed: ['old'] },
    );
    one.ack('cluster');
    await quiet(one);
    t.same(one.rest, []);
  });

  t.test(
    `${nameOf(mode)}: while the new routes are refused, the clusters of the old ones stay`,
    async (t) => {
      const { shelf, client, push, quiet, server } = await serving(t);
      for (const type of KINDS) shelf.put(type, 'A', '1');
      shelf.put('cluster', 'old', '1');
      const one = client(mode);
      await connected(one, quiet);
      one.silent = true;
      shelf.remove('cluster', 'old');
      shelf.put('route', 'A', '2');
      push();
      t.match(await one.next(), { type: 'route', names: ['A'] });
      one.nack('route', 'no');
      await until(() => server.nacks === 1);
      t.match(server.status()[0]!.types.cluster!.heldBack, [{ what: 'removals', why: 'the ACK of route' }]);
      t.same(one.rest, []);
      one.silent = false;
      shelf.put('route', 'A', '3');
      push();
      await one.next();
      t.match(await one.next(), { type: 'cluster' });
    },
  );

  t.test(
    `${nameOf(mode)}: a cluster that changes is sent its endpoints again, or it would warm for ever`,
    async (t) => {
      const { shelf, client, push, quiet } = await serving(t);
      for (const name of ['A', 'B']) {
        shelf.put('cluster', name, '1', { type: 'EDS' });
        shelf.put('endpoint', name, '1');
      }
      const one = client(mode);
      one.want('cluster', []);
      await one.next();
      one.want('endpoint', ['A', 'B']);
      await one.next();
      await quiet(one);
      shelf.put('cluster', 'A', '2', { type: 'EDS' });
      push();
      t.match(await one.next(), { type: 'cluster' });
      t.match(await one.next(), { type: 'endpoint', names: ['A'] });
      await quiet(one);
      t.same(one.rest, []);
      one.disconnect();

      // The same after a reconnect: the endpoints are what it has, but the cluster is new.
      const back = client(mode);
      const has = { initial_resource_versions: [{ key: 'A', value: '1' }] };
      back.want('cluster', [], mode.variant === 'sotw' ? { version_info: 'x' } : has);
      t.match(await back.next(), { type: 'cluster' });
      back.want('endpoint', ['A'], mode.variant === 'sotw' ? { version_info: 'x' } : has);
      t.match(await back.next(), { type: 'endpoint', names: ['A'] });
    },
  );

  t.test(
    `${nameOf(mode)}: for who does not read nothing is piled up; he is sent the newest then`,
    async (t) => {
      const { shelf, client, push, server, subscription } = await serving(t);
      const big = (version: string) =>
        shelf.put('route', 'A', version, { virtual_hosts: [{ name: 'x'.repeat(200_000), domains: ['*'] }] });
      big('0');
      const one = client(mode);
      one.want('route', ['A']);
      await one.next();
      await until(() => server.acks === 1);
      one.raw('route').pause();
      const rounds = 100;
      for (let round = 1; round <= rounds; round += 1) {
        big(String(round));
        push();
        const known = subscription('route')!;
        const { nonce } = known;
        // It acknowledges what it has not read, as only a faulty client does.
        const acks = server.acks;
        const out = known.out !== undefined;
        one.send('route', {
          response_nonce: nonce,
          ...(mode.variant === 'sotw' ? { resource_names: ['A'], version_info: known.sent } : {}),
        });
        if (out) await until(() => server.acks > acks);
      }
      const [traffic] = server.traffic.values();
      t.ok(traffic!.responses < rounds / 4, `${traffic!.responses} of ${rounds} were written`);
      t.match(server.status()[0]!.types.route!.heldBack, [
        { why: 'the client to read what was sent before' },
      ]);
      one.raw('route').resume();
      await until(() => subscription('route')!.held.get('A')?.version === String(rounds));
      t.ok(traffic!.responses < rounds / 4);
    },
  );
}
