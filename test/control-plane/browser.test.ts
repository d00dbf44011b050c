// Pages of other sites in a real browser of this machine, against the admin listener on its loopback.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeScene } from '../cli/queue-scene.ts';
import { domOf, noBrowser } from '../rig/browser.ts';
import { testdir } from '../rig/testdir.ts';

t.setTimeout(240_000);

const SITE = 'evil.example';
const DROP = '{"select":{"all":true},"ignored":"="}';

/** The port of a server whose pages are these, by path. */
const serve = async (t: Test, pages: Record<string, string>): Promise<number> => {
  const server = createServer((request, response) => {
    const page = pages[request.url ?? ''];
    response.writeHead(page === undefined ? 404 : 200, { 'content-type': 'text/html', connection: 'close' });
    response.end(page);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
};

const stored = async (t: Test) => {
  const use = await makeScene(t, undefined, { held: true });
  const id = await use.store('/secret', 'what the app sent', 'dashcam', { authorization: 'Bearer hidden' });
  return { ...use, id, left: async () => Object.keys(await use.states()) };
};

const open = (t: Test, url: string) => domOf(url, { names: [SITE], profile: join(testdir(t), 'profile') });

t.test('a form that a page of another site sends changes nothing', { skip: noBrowser }, async (t) => {
  const { id, left, adminUrl } = await stored(t);
  const [name, value] = DROP.split('=') as [string, string];
  const port = await serve(t, {
    '/': `<form id="f" method="post" enctype="text/plain" action="${adminUrl}/v1/queue/drop">
      <input name='${name}' value='${value}'></form><script>f.submit()</script>`,
  });
  t.match(await open(t, `http://${SITE}:${port}/`), /LAYBY_ADMIN_SITE_REFUSED/);
  t.same(await left(), [id]);
});

t.test('a script of another site changes nothing and reads nothing', { skip: noBrowser }, async (t) => {
  const { id, left, adminUrl } = await stored(t);
  const port = await serve(t, {
    '/': `<body><script type="module">
      const said = [];
      const call = async (path, options) => {
        try {
          const answer = await fetch('${adminUrl}' + path, options);
          said.push([path, answer.type, await answer.text()].join(' '));
        } catch { said.push(path + ' blocked'); }
      };
      const body = '${DROP}';
      await call('/v1/queue/drop', { method: 'POST', mode: 'no-cors', body });
      await call('/v1/queue/drop', { method: 'POST', body, headers: { 'content-type': 'application/json' } });
      await call('/v1/link', { method: 'POST', mode: 'no-cors', body: '{"state":"down"}' });
      await call('/v1/queue/entries/${id}?secrets=1', { mode: 'no-cors' });
      await call('/v1/queue/entries/${id}?secrets=1', {});
      navigator.sendBeacon('${adminUrl}/v1/queue/drop', body);
      document.body.textContent = said.join('; ') + '; over';
    </script></body>`,
  });
  const dom = await open(t, `http://${SITE}:${port}/`);
  t.match(dom, /drop opaque ; .*drop blocked; .*link opaque ; .*opaque ; .*blocked; over/);
  t.notMatch(dom, /Bearer hidden/);
  t.same(await left(), [id]);
});

t.test('a site whose name comes to lead to the listener reads nothing', { skip: noBrowser }, async (t) => {
  const { id, left, adminUrl } = await stored(t);
  const page = `<body><script type="module">
      const said = [];
      const call = async (path, options) => said.push(await (await fetch(path, options)).text());
      await call('/v1/queue/entries/${id}?secrets=1');
      await call('/v1/queue/entries/${id}/body');
      await call('/v1/queue/drop', { method: 'POST', body: '${DROP}', headers: { 'content-type': 'application/json' } });
      document.body.textContent = said.join('; ') + '; over';
    </script></body>`;
  const attacker = await serve(t, { '/': page });
  const { port: adminPort } = new URL(adminUrl);
  // The same name and port: the site first, and then, as after a change of its name, the listener.
  let came = 0;
  const name = createTcpServer((socket) => {
    const to = connect(came++ === 0 ? attacker : Number(adminPort), '127.0.0.1');
    for (const end of [socket, to])
      end.on('error', () => {
        socket.destroy();
        to.destroy();
      });
    socket.pipe(to).pipe(socket);
    t.teardown(() => socket.destroy());
  });
  name.listen(0, '127.0.0.1');
  await once(name, 'listening');
  t.teardown(() => name.close());
  const dom = await open(t, `http://${SITE}:${(name.address() as AddressInfo).port}/`);
  t.match(dom, /(LAYBY_ADMIN_HOST_REFUSED.*){3}; over/s);
  t.notMatch(dom, /Bearer hidden|what the app sent/);
  t.same(await left(), [id]);
});
