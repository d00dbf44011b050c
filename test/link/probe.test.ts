import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { probeWord, watchProbe } from '../../src/link/probe.ts';

t.test('one lost probe says nothing, two say down, a late answer says slow', async (t) => {
  t.equal(probeWord(undefined, 0), undefined);
  t.equal(probeWord(undefined, 1), 'down');
  t.equal(probeWord(1_999, 5), 'up');
  t.equal(probeWord(2_000, 0), 'slow');
});

t.test('any answer is up; who does not listen is down; and it is told once', async (t) => {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(404).end();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  const said: string[] = [];
  let told = () => {};
  const until = (word: string) =>
    new Promise<void>((resolve) => {
      told = () => said.at(-1) === word && resolve();
      told();
    });
  const end = watchProbe({
    url: `http://127.0.0.1:${port}/generate_204`,
    every: 10,
    onChange: (word) => {
      said.push(word);
      told();
    },
  });
  await until('up');
  while (asked.length < 3) await new Promise((done) => server.once('request', done));
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await until('down');
  end();
  t.same(said, ['up', 'down']);
  t.equal(asked[0], 'HEAD /generate_204');
});
