// Which destination an authority belongs to.

import t from 'tap';
import { destinationFor } from '../../src/policy/match.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { destination } from './documents.ts';

const policy = parsePolicy([
  { path: 'p', text: destination({ name: 'exact', hosts: ['api.example', '[2001:db8::1]', '10.0.0.1'] }) },
  { path: 'p', text: destination({ name: 'short', hosts: ['*.example'] }) },
  { path: 'p', text: destination({ name: 'long', hosts: ['*.eu.example'] }) },
]);
const nameFor = (authority: string) => destinationFor(policy, authority)?.name;

t.test('an exact name wins over wildcards, whatever port, case and trailing dot', async (t) => {
  for (const authority of [
    'api.example',
    'API.Example',
    'api.example:8080',
    'api.example.',
    'Api.example.:80',
    'api.example:',
  ])
    t.equal(nameFor(authority), 'exact', authority);
});

t.test('the longest wildcard wins, at any depth, and never matches its own name', async (t) => {
  t.equal(nameFor('a.example'), 'short');
  t.equal(nameFor('a.b.c.example:1'), 'short');
  t.equal(nameFor('eu.example'), 'short');
  t.equal(nameFor('a.eu.example'), 'long');
  t.equal(nameFor('a.b.EU.example.'), 'long');
  t.equal(nameFor('example'), undefined);
  t.equal(nameFor('badexample'), undefined);
});

t.test('IP addresses are found in any spelling, with and without a port', async (t) => {
  for (const authority of [
    '[2001:db8::1]',
    '[2001:DB8:0:0::1]:443',
    '[2001:db8::0001]:',
    '10.0.0.1',
    '10.0.0.1:80',
  ])
    t.equal(nameFor(authority), 'exact', authority);
  t.equal(nameFor('[2001:db8::2]:80'), undefined);
  t.equal(nameFor('2001:db8::1'), undefined, 'without brackets it is no authority');
});

t.test('what is no authority matches nothing, not even a wildcard', async (t) => {
  for (const authority of [
    '',
    '.',
    '.example',
    'a..example',
    'user@a.example',
    'a.example:80:80',
    'a.example:x',
    'a.example/x',
    'a .example',
    'a.example\r\n',
    '*.example ',
    'a.example..',
    '[::1',
    '[a.example]',
    'evil/.example',
  ])
    t.equal(nameFor(authority), undefined, JSON.stringify(authority));
});
