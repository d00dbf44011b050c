// What an operator, an app and a log see of a URL with credentials in it.

import t from 'tap';
import { makeScene } from './queue-scene.ts';

t.setTimeout(120_000);

t.test('credentials in a URL are shown where --secrets asks for them, and nowhere else', async (t) => {
  const use = await makeScene(t, undefined, { held: true });
  const id = await use.store('/clip?v=1&access_token=hush&sig=hu%2Fsh', 'x');
  const shown = ['ls', 'ls --json', `audit ${id}`, `audit ${id} --json`, `show ${id}`, `show ${id} --json`];
  for (const command of [...shown, 'drop --all --dry-run']) {
    const { stdout } = await use.run(...command.split(' '));
    t.match(stdout, /clip\?v=1&access_token=\(hidden\)&sig=\(hidden\)/, command);
    t.notMatch(stdout, /hush|hu%2Fsh/, command);
  }
  for (const command of shown) {
    const { stdout } = await use.run(...`${command} --secrets`.split(' '));
    t.match(stdout, /access_token=hush&sig=hu%2Fsh/, `${command} --secrets`);
  }
  t.match(
    (await use.run('ls', '--secrets', '--destination', 'telemetry')).stdout,
    /^ID[^\n]*\n$/,
    'beside a filter',
  );
  const page = await use.call('GET', `/.well-known/layby/entries/${id}`);
  t.match(page, { status: 200, text: /access_token=\(hidden\)/ });
  t.match((await use.run('ls', '--url', '*access_token=hush*')).stdout, id, 'a filter knows all of it');
});

t.test('what was hidden cannot be given back as if it were the value', async (t) => {
  const use = await makeScene(t);
  const id = await use.store('/clip?token=hush', 'x', 'dashcam', { 'x-api-key': 'hush' });
  await use.refuse();
  const edit = (...args: string[]) => use.run('edit', id, ...args);
  for (const args of [
    ['--url', 'http://dashcam.example/other?token=(hidden)'],
    ['--header', 'x-api-key: (hidden)'],
  ])
    t.match(await edit(...args), { code: 1, said: [/\(hidden\) stands for a value.*--secrets/] });
  const { stdout } = await use.run('show', id, '--secrets');
  t.match(stdout, /token=hush/);
  t.match(stdout, /x-api-key: hush/);
});

t.test('the URL that arrives is the one that the app called', async (t) => {
  const use = await makeScene(t);
  await use.store('/clip?token=hush', 'x');
  use.link.up = true;
  await use.until(() => use.sent.length > 0);
  t.equal(use.sent[0]!.path, '/clip?token=hush');
});
