import t from 'tap';
import { canonicalPath, objectPath } from '../../src/egress/path.ts';

t.test('a path has one spelling: unreserved raw, all else escaped in upper case', async (t) => {
  for (const [given, canonical] of [
    ['/a/b.txt', '/a/b.txt'],
    ['/%7Euser', '/~user'],
    ['/%e3%81%82+b', '/%E3%81%82%2Bb'],
    ['/sp%20a:b', '/sp%20a%3Ab'],
    ['/a//b/', '/a//b/'],
    ['/a%2Fb', '/a%2Fb'],
    ['/100%', '/100%25'],
    ['/a?x=%7e+1', '/a?x=%7e+1'],
  ] as const) {
    t.equal(canonicalPath(given), canonical);
  }
});

t.test('to S3 an escaped slash is a slash; to others it is none', async (t) => {
  t.equal(objectPath('/b/a%2Fb%2f+?c=%2F'), '/b/a/b/%2B?c=%2F');
  t.equal(canonicalPath('/b/a%2Fb%2f+?c=%2F'), '/b/a%2Fb%2F%2B?c=%2F');
});
