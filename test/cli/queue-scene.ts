// A real queue behind the control plane's admin listener, and the command line that asks it.

import type { Test } from 'tap';
import { serveAdmin } from '../../src/control-plane/admin.ts';
import { logger } from '../../src/telemetry/log.ts';
import { formatAddress } from '../../src/wire/address.ts';
import { NO_OVERRIDES } from '../../src/wire/link-memory.ts';
import { destinationOf, scene, UNKNOWABLE } from '../queue/scene.ts';
import { testdir } from '../rig/testdir.ts';
import { layby } from './layby-process.ts';

const DESTINATIONS = [
  destinationOf('dashcam', { order: 'key', class: 'evidence' }),
  destinationOf('telemetry', { order: 'key' }),
];

/** `held`: as after `layby link down`, nothing is tried. Else the queue tries now and then what it has, and a waiting entry is `sending` for
 *  that moment. */
export const makeScene = async (t: Test, destinations = DESTINATIONS, { held = false } = {}) => {
  const remembered = { ...NO_OVERRIDES, network: UNKNOWABLE };
  const use = await scene(testdir(t), destinations, {
    remembered: held ? { ...remembered, all: 'down' } : remembered,
  });
  const { server, address } = await serveAdmin(
    { host: '127.0.0.1', port: 0 },
    {
      queue: use.adminAddress,
      status: () => ({}),
      notReady: () => undefined,
      policy: () => ({}),
      metrics: async () => '',
      override: async () => {},
      log: logger('control-plane'),
    },
  );
  t.teardown(async () => {
    server.closeAllConnections();
    server.close();
    await use.stop();
  });
  const program = (...args: string[]) =>
    layby([...args, '--admin', formatAddress(address)], { ...process.env, SUDO_USER: 'alice' });
  const run = (...args: string[]) => program('queue', ...args);
  const states = async (): Promise<Record<string, string>> =>
    Object.fromEntries(
      (JSON.parse((await use.admin('/v1/queue')).text) as { id: string; state: string }[]).map(
        ({ id, state }) => [id, state],
      ),
    );
  return {
    ...use,
    adminUrl: `http://${formatAddress(address)}`,
    run,
    program,
    states,
    store: async (path: string, body: Buffer | string, host = 'dashcam', headers = {}) => {
      const answer = await use.put(path, Buffer.from(body), `${host}.example`, headers);
      return String(answer.headers['layby-entry']);
    },
    /** What waits is refused for good. */
    refuse: async (status = 422) => {
      use.answer.status = status;
      use.link.up = true;
      while (Object.values(await states()).some((state) => state !== 'dead'));
      use.link.up = false;
    },
    trail: async (id: string): Promise<string[]> =>
      (
        JSON.parse((await use.admin(`/v1/queue/audit?id=${id}`)).text) as { kind: string; detail?: string }[]
      ).map(({ kind, detail }) => `${kind} ${detail}`),
  };
};
