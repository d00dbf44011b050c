// What a queue does that starts without a control plane: it obeys what that left on the disk, and guesses nothing.

import { pino } from 'pino';
import t from 'tap';
import type { Backlog } from '../../src/queue/backlog.ts';
import { Control, edgeTransport } from '../../src/queue/control.ts';
import type { LinkWord } from '../../src/replay/why.ts';
import { type LinkMemory, NO_OVERRIDES } from '../../src/wire/link-memory.ts';
import { testdir } from '../rig/testdir.ts';
import { destinationOf, scene } from './scene.ts';

const always = (name: string, more: Partial<ReturnType<typeof destinationOf>['replay']> = {}) => {
  const destination = destinationOf(name);
  return { ...destination, replay: { ...destination.replay, ...more } };
};
const body = Buffer.from('body');
const METERED = { kind: 'wifi', interface: 'wlan0', metered: true, roaming: false };

t.test('after a restart without a control plane an override that is down still stops replay', async (t) => {
  const queue = await scene(testdir(t), [always('cut'), always('open')], {
    remembered: { all: 'auto', byName: { cut: 'down' }, network: { ...METERED, kind: '' } },
  });
  t.teardown(() => queue.stop());
  queue.link.up = true;
  await queue.put('/cut', body, 'cut.example');
  await queue.restart();
  await queue.put('/open', body, 'open.example');
  await queue.until(() => queue.arrived.has('/open'));
  t.notOk(queue.arrived.has('/cut'));
  const [entry] = JSON.parse((await queue.admin('/v1/queue')).text) as { id: string }[];
  t.match((await queue.admin(`/v1/queue/entries/${entry!.id}/why`)).text, /the operator said so/);
});

t.test('an override of all links is down also for a destination that came later', async (t) => {
  const queue = await scene(testdir(t), [always('later'), always('open')], {
    remembered: { all: 'down', byName: { open: 'auto' }, network: { ...METERED, kind: '' } },
  });
  t.teardown(() => queue.stop());
  queue.link.up = true;
  await queue.put('/later', body, 'later.example');
  await queue.put('/open', body, 'open.example');
  await queue.until(() => queue.arrived.has('/open'));
  t.notOk(queue.arrived.has('/later'));
});

t.test(
  'while the kind of link is not known, entries with rules for it wait, and others do not',
  async (t) => {
    const queue = await scene(testdir(t), [always('ruled', { metered: 'deny' }), always('free')], {
      remembered: NO_OVERRIDES,
    });
    t.teardown(() => queue.stop());
    queue.link.up = true;
    await queue.put('/ruled', body, 'ruled.example');
    await queue.put('/free', body, 'free.example');
    await queue.until(() => queue.arrived.has('/free'));
    t.notOk(queue.arrived.has('/ruled'));
    const [entry] = JSON.parse((await queue.admin('/v1/queue')).text) as { id: string }[];
    t.match(
      (await queue.admin(`/v1/queue/entries/${entry!.id}/why`)).text,
      /the kind of link is not known yet/,
    );
  },
);

t.test('after a restart without a control plane the last kind of link counts', async (t) => {
  const queue = await scene(testdir(t), [always('ruled', { metered: 'deny' }), always('free')], {
    remembered: { ...NO_OVERRIDES, network: METERED },
  });
  t.teardown(() => queue.stop());
  queue.link.up = true;
  await queue.put('/ruled', body, 'ruled.example');
  await queue.restart();
  await queue.put('/free', body, 'free.example');
  await queue.until(() => queue.arrived.has('/free'));
  t.notOk(queue.arrived.has('/ruled'));
});

t.test('replay waits for the control plane where nothing is known, however long that takes', async (t) => {
  const attempts = Promise.withResolvers<void>();
  const known = Promise.withResolvers<void>();
  let memory: LinkMemory | undefined;
  let asked = 0;
  const links: [string, LinkWord][] = [];
  let isKnown = false;
  const control = new Control({
    transport: edgeTransport({ unix: `${testdir(t)}/none` }),
    lastGood: { load: () => undefined, save: async () => {} },
    backlog: {} as Backlog,
    log: pino({ level: 'silent' }),
    onPolicy: () => {},
    onLink: (...of) => links.push(of),
    onNetwork: () => {},
    remembered: () => {
      asked += 1;
      // Each is followed by an attempt to attach.
      if (asked === 15) attempts.resolve();
      return memory;
    },
    onKnown: () => {
      isKnown = true;
      known.resolve();
    },
  });
  control.start();
  t.teardown(() => control.close());
  await attempts.promise;
  t.notOk(isKnown);
  memory = NO_OVERRIDES;
  await known.promise;
  t.pass('as soon as it is known');
});
