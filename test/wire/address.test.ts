import t from 'tap';
import { formatAddress, parseAddress } from '../../src/wire/address.ts';

t.test('addresses are read as operators write them', async (t) => {
  t.same(parseAddress('127.0.0.1:15001'), { host: '127.0.0.1', port: 15001 });
  t.same(parseAddress(':15001'), { host: '127.0.0.1', port: 15001 });
  t.same(parseAddress('[::1]:80'), { host: '::1', port: 80 });
  t.same(parseAddress('unix:/run/x.sock'), { unix: '/run/x.sock' });
  t.same(parseAddress(`unix:/${'x'.repeat(106)}`), { unix: `/${'x'.repeat(106)}` });
  for (const text of ['[::1]:80', '127.0.0.1:1', 'unix:/x']) t.equal(formatAddress(parseAddress(text)), text);
});

t.test('what is no address is refused with an example', async (t) => {
  // A socket of Linux has 107 bytes for its path.
  for (const text of ['15001', 'a:b', 'a:70000', '', 'unix:', `unix:/${'x'.repeat(107)}`]) {
    t.throws(() => parseAddress(text, '--outbound'), {
      code: 'LAYBY_ADDRESS_INVALID',
      message: /--outbound/,
    });
  }
});
