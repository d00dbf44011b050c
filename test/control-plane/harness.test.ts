// The scenarios of the public xDS conformance harness (ii/xds-test-harness: subscribe, unsubscribe, delta), for each type in each of
// the four transports. "Never more than necessary" is counted: each scenario says how many responses it takes.

import t, { type Test } from 'tap';
import type { TypeName } from '../../src/control-plane/types.ts';
import {
  MODES,
  type Mode,
  nameOf,
  type Response,
  type Serving,
  serving,
  until,
  type XdsClient,
} from './xds-client.ts';

const FULL: TypeName[] = ['cluster', 'listener'];
const NAMED: TypeName[] = ['route', 'endpoint', 'secret'];
const ALL = [...FULL, ...NAMED];

interface Setting extends Serving {
  t: Test;
  mode: Mode;
  type: TypeName;
  client: () => XdsClient;
  /** The client that was made first. */
  one: XdsClient;
  /** Puts on the shelf and serves. */
  update(name: string, version: string): void;
  drop(name: string): void;
  /** The next response, and no other. */
  gets(names: string[], removed?: string[]): Promise<Response>;
}

/** Runs a scenario for these types in these modes. */
const scenario = (
  title: string,
  modes: readonly Mode[],
  types: readonly TypeName[],
  run: (setting: Setting) => Promise<void>,
): void => {
  for (const mode of modes)
    for (const type of types)
      t.test(`${nameOf(mode)}, ${type}: ${title}`, async (t) => {
        const base = await serving(t);
        for (const name of ['A', 'B', 'C']) base.shelf.put(type, name, '1');
        const one = base.client(mode);
        const setting: Setting = {
          ...base,
          ...{ t, mode, type, one },
          client: () => base.client(mode),
          update: (name, version) => {
            base.shelf.put(type, name, version);
            base.push();
          },
          drop: (name) => {
            base.shelf.remove(type, name);
            base.push();
          },
          gets: async (names, removed = []) => {
            const response = await one.next();
            t.same([response.names, response.removed], [names, removed]);
            return response;
          },
        };
        await run(setting);
        await base.quiet(one);
        t.same(one.rest, [], 'the service never responds more than necessary');
      });
};

const SOTW = MODES.filter(({ variant }) => variant === 'sotw');
const DELTA = MODES.filter(({ variant }) => variant === 'delta');

for (const names of [[], ['*']])
  scenario(`a wildcard (${JSON.stringify(names)}) gets all`, MODES, FULL, async ({ one, type, gets }) => {
    one.want(type, names);
    await gets(['A', 'B', 'C']);
  });

scenario('a wildcard gets updates, all of them in one response', SOTW, FULL, async (setting) => {
  const { t, one, type, gets, update } = setting;
  one.want(type, []);
  const first = await gets(['A', 'B', 'C']);
  update('A', '2');
  const second = await gets(['A', 'B', 'C']);
  t.not(second.version, first.version);
});

scenario('a wildcard gets what is added', MODES, FULL, async ({ mode, one, type, gets, update }) => {
  one.want(type, []);
  await gets(['A', 'B', 'C']);
  update('D', '2');
  await gets(mode.variant === 'sotw' ? ['A', 'B', 'C', 'D'] : ['D']);
});

scenario('a wildcard is told what is gone', MODES, FULL, async ({ mode, one, type, gets, drop }) => {
  one.want(type, []);
  await gets(['A', 'B', 'C']);
  drop('B');
  await (mode.variant === 'sotw' ? gets(['A', 'C']) : gets([], ['B']));
});

scenario('who names some gets only these', MODES, ALL, async ({ one, type, gets }) => {
  one.want(type, ['A', 'B']);
  await gets(['A', 'B']);
});

scenario('who names some is told when these change, and not when others do', MODES, ALL, async (setting) => {
  const { mode, one, type, gets, update } = setting;
  one.want(type, ['A', 'B']);
  await gets(['A', 'B']);
  update('C', '2');
  update('B', '2');
  await gets(mode.variant === 'sotw' && FULL.includes(type) ? ['A', 'B'] : ['B']);
});

scenario('what does not exist is sent when it is created', MODES, ALL, async (setting) => {
  const { mode, one, type, gets, update } = setting;
  one.want(type, ['A', 'Z']);
  await gets(['A'], mode.variant === 'delta' ? ['Z'] : []);
  update('Z', '2');
  await gets(mode.variant === 'sotw' && FULL.includes(type) ? ['A', 'Z'] : ['Z']);
});

scenario('what does not exist: an empty answer tells it', SOTW, FULL, async ({ one, type, gets }) => {
  one.want(type, ['Z']);
  await gets([]);
});

scenario('what does not exist: no answer, which could not tell it', SOTW, NAMED, async (setting) => {
  const { t, one, type, subscription } = setting;
  one.want(type, ['Z']);
  await until(() => subscription(type) !== undefined);
  t.ok(subscription(type)!.settled(setting.shelf.get(type)));
  setting.update('Z', '1');
  await setting.gets(['Z']);
});

scenario('resources are subscribed one after the other', MODES, ALL, async (setting) => {
  const { mode, one, type, gets, quiet } = setting;
  one.want(type, ['A']);
  await gets(['A']);
  await quiet(one);
  one.want(type, ['A', 'B']);
  await gets(mode.variant === 'sotw' && FULL.includes(type) ? ['A', 'B'] : ['B']);
});

scenario('unsubscribing from some: nothing of them any more', MODES, ALL, async (setting) => {
  const { one, type, gets, update, quiet, subscription } = setting;
  one.want(type, ['A', 'B', 'C']);
  await gets(['A', 'B', 'C']);
  await quiet(one);
  one.want(type, ['A']);
  await until(() => subscription(type)!.names.size === 1);
  update('B', '2');
  update('A', '2');
  await gets(['A']);
});

scenario('unsubscribing from all: nothing any more', MODES, ALL, async (setting) => {
  const { one, type, gets, update, quiet, subscription } = setting;
  one.want(type, ['A', 'B']);
  await gets(['A', 'B']);
  await quiet(one);
  one.want(type, []);
  await until(() => subscription(type)!.names.size === 0);
  update('B', '2');
});

scenario('what was unsubscribed is sent when it is subscribed again', MODES, ALL, async (setting) => {
  const { mode, one, type, gets, quiet, subscription } = setting;
  one.want(type, ['A', 'B']);
  await gets(['A', 'B']);
  await quiet(one);
  one.want(type, ['A']);
  await until(() => subscription(type)!.names.size === 1);
  one.want(type, ['A', 'B']);
  await gets(mode.variant === 'sotw' && FULL.includes(type) ? ['A', 'B'] : ['B']);
});

scenario('everything and a name beside it', MODES, FULL, async (setting) => {
  const { mode, one, type, gets, quiet, subscription, update, drop } = setting;
  one.want(type, ['*', 'Z']);
  await gets(['A', 'B', 'C'], mode.variant === 'delta' ? ['Z'] : []);
  await quiet(one);
  one.want(type, ['Z']);
  await until(() => !subscription(type)!.wildcard);
  update('A', '2');
  drop('B');
  update('Z', '1');
  await gets(['Z']);
});

scenario('an update carries the one resource that changed', DELTA, ALL, async (setting) => {
  const { t, one, type, gets, update } = setting;
  one.want(type, ['A', 'B', 'C']);
  t.same((await gets(['A', 'B', 'C'])).versions, { A: '1', B: '1', C: '1' });
  update('A', '2');
  t.same((await gets(['A'])).versions, { A: '2' });
});

scenario('what is removed is named, and sent when it is back', DELTA, ALL, async (setting) => {
  const { one, type, gets, update, drop } = setting;
  one.want(type, ['A', 'B']);
  await gets(['A', 'B']);
  drop('B');
  await gets([], ['B']);
  update('B', '2');
  await gets(['B']);
});

scenario('what is subscribed once more is sent once more', DELTA, ALL, async (setting) => {
  const { one, type, gets, quiet } = setting;
  one.want(type, ['A', 'B']);
  await gets(['A', 'B']);
  await quiet(one);
  one.send(type, { resource_names_subscribe: ['A'] });
  await gets(['A']);
});

scenario('under a wildcard, a name that is unsubscribed is sent as it is', DELTA, FULL, async (setting) => {
  const { one, type, gets, quiet } = setting;
  one.want(type, ['*', 'A', 'Z']);
  await gets(['A', 'B', 'C'], ['Z']);
  await quiet(one);
  one.want(type, ['*']);
  await gets(['A'], ['Z']);
});

scenario(
  'on demand: a first request with names asks for no more than these',
  DELTA,
  FULL,
  async (setting) => {
    const { one, type, gets, update, quiet, subscription } = setting;
    one.want(type, ['B']);
    await gets(['B']);
    await quiet(one);
    one.send(type, { resource_names_subscribe: ['C'] });
    await gets(['C']);
    await quiet(one);
    one.send(type, { resource_names_unsubscribe: ['B'] });
    await until(() => subscription(type)!.names.size === 1);
    update('A', '2');
    update('B', '2');
    update('C', '2');
    await gets(['C']);
  },
);

for (const [first, second] of [
  ['cluster', 'listener'],
  ['route', 'endpoint'],
  ['secret', 'runtime'],
] as const)
  for (const mode of MODES)
    t.test(`${nameOf(mode)}: ${first} and ${second} are told apart`, async (t) => {
      const { shelf, client, push, quiet } = await serving(t);
      for (const type of [first, second]) for (const name of ['A', 'B']) shelf.put(type, name, '1');
      const one = client(mode);
      for (const type of [first, second]) {
        one.want(type, ['B']);
        t.match(await one.next(), { type, names: ['B'] });
      }
      await quiet(one);
      for (const type of [second, first]) {
        shelf.put(type, 'B', '2');
        push();
        t.match(await one.next(), { type, names: ['B'] });
      }
      await quiet(one);
      t.same(one.rest, []);
    });
