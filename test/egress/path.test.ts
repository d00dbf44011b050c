import t from 'tap';
import { objectPath } from '../../src/egress/path.ts';

t.test(
  'the path of an object has one spelling: unreserved and slashes raw, all else escaped in upper case',
  async (t) => {
    for (const [given, canonical] of [
      ['/a/b.txt', '/a/b.txt'],
      ['/%7Euser', '/~user'],
      ['/%e3%81%82+b', '/%E3%81%82%2Bb'],
      ['/sp%20a:b', '/sp%20a%3Ab'],
      ['/a//b/', '/a//b/'],
      ['/b/a%2Fb%2f+', '/b/a/b/%2B'],
      ['/100%', '/100%25'],
      ['/a?x=%7e+1', '/a?x=%7e+1'],
    ] as const) {
      t.equal(objectPath(given), canonical);
    }
  },
);
