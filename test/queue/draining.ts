// A queue whose lane drains, and does not end draining before the test says so.

import type { Test } from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { testdir } from '../rig/testdir.ts';
import { scene } from './scene.ts';

/** The lane drains: /slow is stored, on its way again, and not answered before `answer('/slow')`. `below`: what is put before these paths. */
export const drainingScene = async (t: Test, destination: Destination, below = '') => {
  // Before the directory is asked for, or it would go first.
  t.teardown(() => at.stop());
  // Nothing is sent before the link is there, or one of the two could hang in the place of the other.
  const at = await scene(testdir(t), [destination], { remembered: null });
  const steps = new Map<string, { begun: PromiseWithResolvers<void>; answer: PromiseWithResolvers<void> }>();
  const stepOf = (path: string) => {
    const step = steps.get(path) ?? { begun: Promise.withResolvers(), answer: Promise.withResolvers() };
    steps.set(path, step);
    return step;
  };
  at.link.answer = async ({ url = '' }) => {
    const gated = steps.get(url);
    gated?.begun.resolve();
    await gated?.answer.promise;
  };
  // It came by failover, so the link is known to fail; the first try that gets through ends that.
  await at.call('PUT', `${below}/first`, Buffer.from('1'), { 'layby-host': destination.hosts[0]! });
  await at.call('PUT', `${below}/slow`, Buffer.from('old'), { 'layby-host': destination.hosts[0]! });
  stepOf(`${below}/slow`);
  at.link.up = true;
  await at.remember();
  await stepOf(`${below}/slow`).begun.promise;
  await at.until(() => at.arrived.has(`${below}/first`));
  while ((await at.admin('/v1/queue/status')).text.includes('"failing":true'));
  return {
    ...at,
    /** The next calls of this path are not answered by the destination before `answer`. */
    gate: (path: string) => void stepOf(path),
    begun: (path: string) => stepOf(path).begun.promise,
    answer: (path: string) => stepOf(path).answer.resolve(),
    drained: () => at.until(() => at.arrived.has(`${below}/slow`)),
  };
};
