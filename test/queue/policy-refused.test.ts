// Of a policy that the queue cannot read, from a control plane of another version, say.

import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import t from 'tap';
import { asPolicy } from '../../src/policy/as-policy.ts';
import type { Policy } from '../../src/policy/policy.ts';
import type { Backlog } from '../../src/queue/backlog.ts';
import { Control, type EdgeCall } from '../../src/queue/control.ts';
import type { EdgeState, QueueReport } from '../../src/wire/edge-service.ts';
import { destinationOf } from './scene.ts';

const GOOD = { destinations: [destinationOf('api')] };

/** A stream to a control plane that this test is. */
const attached = (onPolicy: (policy: Policy) => void = () => {}) => {
  const heard = new Map<string, (value: EdgeState) => void>();
  const reports: QueueReport[] = [];
  const logged: { msg: string; version: string; err: { code?: string } }[] = [];
  const call = {
    write: (report: QueueReport) => reports.push(report),
    on: (event: string, listener: (value: EdgeState) => void) => heard.set(event, listener),
    cancel: () => {},
  } as unknown as EdgeCall;
  const inForce: Policy[] = [];
  const control = new Control({
    transport: { attach: () => call, close: () => {} },
    lastGood: { load: () => undefined, save: async () => {} },
    backlog: { attach: () => ({ inForce: () => {}, detach: () => {} }) } as unknown as Backlog,
    log: pino({ level: 'error' }, { write: (line: string) => logged.push(JSON.parse(line)) }),
    onPolicy: (policy) => {
      onPolicy(policy);
      inForce.push(policy);
    },
    onLink: () => {},
    onNetwork: () => {},
    remembered: () => undefined,
    onKnown: () => {},
  });
  control.start();
  return {
    ...{ control, reports, logged, inForce },
    say: async (version: string, json: string) => {
      heard.get('data')!({ policy: { version, json }, destinations: [] });
      await turn();
    },
  };
};

t.test('a policy that cannot be read is logged once, and the one before stays in force', async (t) => {
  const { control, reports, logged, inForce, say } = attached();
  t.teardown(() => control.close());
  await say('good', JSON.stringify(GOOD));
  t.match(inForce, [{ version: 'good', destinations: [{ name: 'api' }] }]);
  for (const [version, json] of [
    ['torn', '{"destinations":['],
    ['none', 'null'],
    ['empty', '{}'],
    ['odd', '{"destinations":[{"name":"api"}]}'],
  ] as const) {
    await say(version, json);
    await say(version, json);
  }
  t.equal(inForce.length, 1);
  t.same(
    logged.map(({ version }) => version),
    ['torn', 'none', 'empty', 'odd'],
  );
  t.ok(logged.every(({ err }) => err.code === 'LAYBY_POLICY_NOT_UNDERSTOOD'));
  t.same([...new Set(reports.map(({ policy_version }) => policy_version))], ['good']);
  await say('next', JSON.stringify(GOOD));
  t.match(inForce.at(-1), { version: 'next' });
});

t.test('where a policy cannot be put in force, the one before is put in force again', async (t) => {
  const { control, logged, inForce, say } = attached(({ version }) => {
    if (version === 'bad') throw new Error('half of it');
  });
  t.teardown(() => control.close());
  await say('good', JSON.stringify(GOOD));
  await say('bad', JSON.stringify(GOOD));
  t.same(
    inForce.map(({ version }) => version),
    ['good', 'good'],
  );
  t.match(logged, [{ version: 'bad', err: { message: 'half of it' } }]);
});

t.test('what everything relies on is checked before a policy is taken', async (t) => {
  t.same(asPolicy('v', JSON.stringify({ version: 'x', ...GOOD })), { version: 'v', ...GOOD });
  const [destination] = GOOD.destinations;
  for (const [changes, message] of [
    [{ name: 5 }, /destinations\[0\]\.name is 5/],
    [{ hosts: 'api.example' }, /hosts is "api\.example"/],
    [{ upstream: { url: 'no url' } }, /upstream\.url is "no url"/],
    [{ store: undefined }, /store\.mode is undefined/],
    [{ replay: { retry: {} } }, /replay\.retry\.max is undefined/],
  ] as const)
    t.throws(() => asPolicy('v', JSON.stringify({ destinations: [{ ...destination, ...changes }] })), {
      code: 'LAYBY_POLICY_NOT_UNDERSTOOD',
      message,
    });
});
