// CSDS by a real gRPC client: whose status is asked, and what is said of each resource.

import { once } from 'node:events';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { MODES, nameOf, serving, until, xds } from './xds-client.ts';

interface Config {
  type_url: string;
  name: string;
  version_info: string;
  config_status: string;
  client_status: string;
  xds_config: { type_url: string; value: Buffer } | null;
  error_state: { details: string; version_info: string } | null;
}

interface Status {
  config: { node: { id: string; metadata: unknown }; generic_xds_configs: Config[] }[];
}

const Csds = grpc.makeGenericClientConstructor(xds.services.csds, 'CSDS');

const connect = (t: { teardown(end: () => void): void }, target: string) => {
  const client = new Csds(target, grpc.credentials.createInsecure());
  t.teardown(() => client.close());
  return {
    fetch: (request: object = {}): Promise<Status> =>
      new Promise((resolve, reject) => {
        client.FetchClientStatus!(request, (error: Error | null, answer: Status) =>
          error ? reject(error) : resolve(answer),
        );
      }),
    stream: () => client.StreamClientStatus!() as unknown as grpc.ClientDuplexStream<object, Status>,
  };
};

const LETTER = { A: '1', B: '1', C: '1' };

for (const mode of MODES)
  t.test(`${nameOf(mode)}: each resource has its status, and a refused one the client's words`, async (t) => {
    const { shelf, client, push, server, target } = await serving(t);
    const { fetch } = connect(t, target);
    t.same(await fetch(), { config: [] });
    const one = client(mode);
    one.silent = true;
    for (const [name, version] of Object.entries(LETTER)) shelf.put('cluster', name, version);
    one.want('cluster', []);
    one.want('route', ['Z']);
    await one.next();
    const standing = async () => {
      const { config } = await fetch({ exclude_resource_contents: true });
      return Object.fromEntries(
        config[0]!.generic_xds_configs.map(({ name, config_status, client_status }) => [
          name,
          `${config_status} ${client_status}`,
        ]),
      );
    };
    await until(() => server.clients.values().next().value!.subscriptions.length === 2);
    t.match(await standing(), { A: 'STALE REQUESTED', Z: 'NOT_SENT DOES_NOT_EXIST' });
    one.ack('cluster');
    await until(() => server.acks === 1);
    t.match(await standing(), { A: 'SYNCED ACKED', B: 'SYNCED ACKED' });
    for (const name of ['A', 'B']) shelf.put('cluster', name, '2');
    push();
    await until(() => one.responses.filter(({ type }) => type === 'cluster').length === 2);
    one.nack('cluster', 'Error adding/updating cluster(s) B: no such thing');
    await until(() => server.nacks === 1);
    shelf.put('cluster', 'D', '1');
    t.match(await standing(), {
      A: mode.variant === 'delta' ? 'SYNCED ACKED' : 'STALE REQUESTED',
      B: 'ERROR NACKED',
      C: 'SYNCED ACKED',
      D: 'NOT_SENT REQUESTED',
    });
    const { config } = await fetch();
    const refused = config[0]!.generic_xds_configs.find(({ name }) => name === 'B')!;
    t.match(refused.error_state, { details: 'Error adding/updating cluster(s) B: no such thing' });
    t.equal(xds.decodeAny(refused.xds_config!).name, 'B');
  });

t.test('who is asked for is matched by id and metadata', async (t) => {
  const { client, server, target } = await serving(t);
  const { fetch, stream } = connect(t, target);
  const struct = (fields: Record<string, object>) => ({
    fields: Object.entries(fields).map(([key, value]) => ({ key, value })),
  });
  const nodes = [
    { id: 'truck-7', metadata: struct({ fleet: { string_value: 'north' }, wheels: { number_value: 6 } }) },
    { id: 'truck-8', metadata: struct({ fleet: { string_value: 'South' }, electric: { bool_value: true } }) },
    {
      id: 'van-1',
      metadata: struct({
        fleet: { string_value: 'north' },
        tags: { list_value: { values: [{ string_value: 'cold' }] } },
        deep: { struct_value: struct({ er: { null_value: 'NULL_VALUE' } }) },
      }),
    },
  ];
  for (const node of nodes) client(MODES[0]!, node).want('cluster', []);
  await until(() => server.clients.size === 3);
  const ids = async (...matchers: object[]) => {
    const { config } = await fetch({ node_matchers: matchers });
    return config.map(({ node }) => node.id).sort();
  };
  const at = (value: object, ...path: string[]) => ({
    node_metadatas: [{ path: path.map((key) => ({ key })), value }],
  });
  const all = nodes.map(({ id }) => id);
  t.same(await ids(), all);
  t.same(await ids({}), all);
  t.same(await ids({ node_id: { exact: 'truck-7' } }), ['truck-7']);
  t.same(await ids({ node_id: { prefix: 'TRUCK', ignore_case: true } }), ['truck-7', 'truck-8']);
  t.same(await ids({ node_id: { suffix: '-1' } }, { node_id: { contains: '-8' } }), ['truck-8', 'van-1']);
  t.same(await ids({ node_id: { safe_regex: { regex: 'truck-[0-7]|van' } } }), ['truck-7'], 'the whole id');
  t.same(await ids(at({ string_match: { exact: 'north' } }, 'fleet')), ['truck-7', 'van-1']);
  t.same(await ids({ node_id: { prefix: 'van' }, ...at({ string_match: { exact: 'north' } }, 'fleet') }), [
    'van-1',
  ]);
  t.same(await ids(at({ double_match: { exact: 6 } }, 'wheels')), ['truck-7']);
  t.same(await ids(at({ double_match: { range: { start: 4, end: 6 } } }, 'wheels')), []);
  t.same(await ids(at({ bool_match: true }, 'electric')), ['truck-8']);
  t.same(await ids(at({ present_match: true }, 'tags')), ['van-1']);
  t.same(await ids(at({ present_match: false }, 'tags')), ['truck-7', 'truck-8']);
  t.same(await ids(at({ list_match: { one_of: { string_match: { exact: 'cold' } } } }, 'tags')), ['van-1']);
  t.same(await ids(at({ null_match: {} }, 'deep', 'er')), ['van-1']);
  t.same(
    await ids(
      at(
        { or_match: { value_matchers: [{ bool_match: true }, { string_match: { exact: 'South' } }] } },
        'fleet',
      ),
    ),
    ['truck-8'],
  );
  for (const bad of [{ node_id: { safe_regex: { regex: '(' } } }, { node_id: {} }, at({}, 'fleet')])
    await t.rejects(ids(bad), { code: grpc.status.INVALID_ARGUMENT });

  const call = stream();
  const answers: Status[] = [];
  call.on('data', (answer: Status) => answers.push(answer));
  call.write({ node_matchers: [{ node_id: { exact: 'van-1' } }] });
  await until(() => answers.length === 1);
  t.match(answers[0]!.config, [{ node: { id: 'van-1' } }]);
  t.ok(answers[0]!.config[0]!.node.metadata, 'as it said of itself');
  call.write({});
  await until(() => answers.length === 2);
  t.equal(answers[1]!.config.length, 3);
  call.end();
  await once(call, 'status');
});
