import { mock } from 'node:test';
import t from 'tap';
import { Backlog, type Marks } from '../../src/queue/backlog.ts';
import type { Store, Totals } from '../../src/store/store.ts';
import type { Lane } from '../../src/wire/edge-service.ts';

const totals = new Map<string, Totals>();
const store = { totals: () => totals } as unknown as Store;
const entries = (count: number): void => {
  totals.set('api', { entries: count, bytes: 0 } as Totals);
};
const noMarks: Marks = { mark: async () => {}, unmark: () => {} };

/** Whether it has resolved after all that is due has run. */
const settled = async (promise: Promise<unknown>): Promise<boolean> => {
  let over = false;
  void promise.then(() => {
    over = true;
  });
  await new Promise(setImmediate);
  return over;
};

t.beforeEach(() => totals.clear());

t.test('a receipt waits for the mark on the disk and for the hold', async (t) => {
  const disk = Promise.withResolvers<void>();
  const marked: string[] = [];
  const backlog = new Backlog(store, {
    mark: (lane) => {
      marked.push(lane);
      return disk.promise;
    },
    unmark: (lane) => marked.splice(marked.indexOf(lane), 1),
  });
  t.teardown(() => backlog.close());
  const reports: Lane[][] = [];
  const attachment = backlog.attach((lanes) => reports.push(lanes));
  const storing = backlog.storing('api', false);
  t.same(marked, ['api'], 'before the body is read');
  t.match(reports.at(-1), [{ destination: 'api', pending: true, generation: 1 }]);
  const commit = storing.marked();
  const receipt = storing.held();
  attachment.inForce('api', 1);
  t.notOk(await settled(Promise.race([commit, receipt])), 'held, and not marked');
  disk.resolve();
  await commit;
  await receipt;
  storing.done();
  t.same(marked, [], 'nothing was stored');
});

t.test('a mark that failed is tried again before the commit', async (t) => {
  let tries = 0;
  const backlog = new Backlog(store, {
    mark: async () => {
      tries += 1;
      if (tries < 2) throw new Error('no room');
    },
    unmark: () => {},
  });
  t.teardown(() => backlog.close());
  await backlog.storing('api', false).marked();
  t.equal(tries, 2);
});

t.test('a receipt waits for a control plane that is being started again', async (t) => {
  const backlog = new Backlog(store, noMarks);
  t.teardown(() => backlog.close());
  const first = backlog.attach(() => {});
  const receipt = backlog.storing('api', false).held();
  first.detach();
  t.notOk(await settled(receipt), 'nobody has confirmed the hold');
  const second = backlog.attach(() => {});
  t.notOk(await settled(receipt));
  second.inForce('api', 1);
  await receipt;
});

t.test('what was in force for one attachment is not in force for the next', async (t) => {
  const backlog = new Backlog(store, noMarks);
  t.teardown(() => backlog.close());
  const first = backlog.attach(() => {});
  const storing = backlog.storing('api', false);
  first.inForce('api', 1);
  await storing.held();
  const second = backlog.attach(() => {});
  const receipt = backlog.storing('api', false).held();
  first.inForce('api', 1);
  first.detach();
  t.notOk(await settled(receipt), 'the one before is not heard any more');
  second.inForce('api', 1);
  await receipt;
});

t.test('a control plane that hangs, or stays away, delays receipts once', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const backlog = new Backlog(store, noMarks);
  t.teardown(() => backlog.close());
  const attachment = backlog.attach(() => {});
  const storing = backlog.storing('api', false);
  const receipt = storing.held();
  await Promise.resolve();
  await Promise.resolve();
  mock.timers.tick(2_000);
  await receipt;
  await backlog.storing('api', false).held();
  t.pass('the second one of the generation does not wait');
  attachment.detach();
  const away = backlog.storing('api', false).held();
  await Promise.resolve();
  await Promise.resolve();
  mock.timers.tick(10_000);
  await away;
  await backlog.storing('other', false).held();
  t.pass('nor does one of another lane');
});

t.test('a control plane that has answered gets the time to wait for its sidecars', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const backlog = new Backlog(store, noMarks);
  t.teardown(() => backlog.close());
  const attachment = backlog.attach(() => {});
  const receipt = backlog.storing('api', false).held();
  await Promise.resolve();
  await Promise.resolve();
  attachment.inForce('api', 0);
  t.notOk(await settled(receipt));
  mock.timers.tick(4_000);
  t.notOk(await settled(receipt));
  attachment.inForce('api', 1);
  await receipt;
});

t.test('entries of a dead letter come back only when their lane is held', async (t) => {
  const backlog = new Backlog(store, noMarks);
  t.teardown(() => backlog.close());
  const attachment = backlog.attach(() => {});
  let back = false;
  const retried = backlog.holding('api', async () => {
    back = true;
    entries(1);
  });
  t.notOk(await settled(retried));
  t.notOk(back);
  attachment.inForce('api', 1);
  await retried;
  t.ok(back);
  t.ok(backlog.isPending('api'));
});

t.test('lanes that have entries at the start are pending and marked', async (t) => {
  entries(2);
  const marked: string[] = [];
  const backlog = new Backlog(store, { ...noMarks, mark: async (lane) => void marked.push(lane) });
  t.teardown(() => backlog.close());
  t.same(backlog.pending, ['api']);
  t.same(marked, ['api']);
});
