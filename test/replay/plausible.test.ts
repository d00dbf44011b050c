// Which answers are taken for S3's own: those of the servers that there are, and none of a captive portal.

import t from 'tap';
import { refusedKeys } from '../../src/replay/deliver/s3/calls.ts';
import { EtagMemory } from '../../src/replay/deliver/s3/etag-memory.ts';
import {
  hidesMd5,
  isPresigned,
  isSignedForS3,
  negativeDoubt,
  positiveDoubt,
} from '../../src/replay/deliver/s3/plausible.ts';

const MD5 = '5d41402abc4b2a76b9719d911017c592';
const PAGE = '<!DOCTYPE html>\n<html><body>Please log in</body></html>';
const HTML = ['Content-Type', 'text/html; charset=utf-8'];
const AWS = ['x-amz-id-2', 'a', 'x-amz-request-id', 'B', 'Server', 'AmazonS3'];
const COPIED = '<?xml version="1.0"?>\n<CopyObjectResult><ETag>"x"</ETag></CopyObjectResult>';

const call = (method: string, path: string, headers: string[] = []) => ({
  ...{ method, url: `http://s3.example${path}`, headers },
});
const PUT = call('PUT', '/b/k');
const COPY = call('PUT', '/b/k', ['X-Amz-Copy-Source', '/b/c']);
const PART = call('PUT', '/b/k?partNumber=2&uploadId=u');
const PRESIGNED = call('PUT', '/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00&x-id=PutObject');
const DELETE = call('DELETE', '/b/k');
const DELETE_OBJECTS = call('POST', '/b?delete');
const CREATE = call('POST', '/b/k?uploads');
const COMPLETE = call('POST', '/b/k?uploadId=u');
const TAGGING = call('PUT', '/b/k?tagging');
const ACL = call('PUT', '/b/k?acl=');
const BUCKET = call('PUT', '/clips');

type Case = [what: string, asked: typeof PUT, status: number, headers: string[], text: string, md5?: string];

const REAL: Case[] = [
  ['AWS', PUT, 200, [...AWS, 'ETag', `"${MD5}"`, 'Content-Length', '0'], '', MD5],
  ['AWS with SSE-KMS', PUT, 200, [...AWS, 'ETag', '"00112233445566778899aabbccddeeff"'], '', MD5],
  ['AWS presigned', PRESIGNED, 200, [...AWS, 'ETag', `"${MD5}"`], ''],
  ['AWS part', PART, 200, [...AWS, 'ETag', `"${MD5}"`], ''],
  ['AWS of a completed one', PUT, 200, [...AWS, 'ETag', `"${MD5}-3"`], ''],
  ['R2, without x-amz-request-id', PUT, 200, ['ETag', '"a1"', 'CF-RAY', '1', 'Server', 'cloudflare'], ''],
  ['GCS', PUT, 200, ['ETag', `"${MD5}"`, 'x-goog-hash', 'crc32c=a', ...HTML], ''],
  ['Ceph, where it is set to say 201', PUT, 201, ['ETag', MD5, 'x-amz-request-id', 'tx1'], ''],
  ['rclone', PUT, 200, ['ETag', `"${MD5}"`, 'x-amz-id-2', 'a'], ''],
  ['MinIO without compatibility', PUT, 200, ['ETag', `"${MD5}-1"`, 'Server', 'MinIO'], ''],
  ['moto, which calls everything text/html', PUT, 200, ['ETag', `"${MD5}"`, ...HTML], ''],
  ['a server with a body of its own, and the MD5', PUT, 200, ['ETag', `"${MD5}"`], 'stored', MD5],
  ['an append to a directory bucket', PUT, 200, [...AWS, 'ETag', '"6e1a-00"'], ''],
  ['DELETE', DELETE, 204, AWS, ''],
  ['DELETE of a server that says 200', DELETE, 200, [], ''],
  ['DELETE of an upload', call('DELETE', '/b/k?uploadId=u'), 204, [], ''],
  ['DeleteObjects', DELETE_OBJECTS, 200, AWS, '<?xml version="1.0"?>\n<DeleteResult xmlns="x"/>'],
  ['a copy', COPY, 200, AWS, COPIED],
  ['a copy of moto', COPY, 200, HTML, COPIED],
  [
    'a copied part',
    call('PUT', '/b/k?partNumber=1&uploadId=u', COPY.headers),
    200,
    AWS,
    '<CopyPartResult />',
  ],
  [
    'a creation',
    CREATE,
    200,
    [],
    '<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>',
  ],
  [
    'a completion that took long',
    COMPLETE,
    200,
    [],
    '<?xml version="1.0"?>\n   \n<s3:CompleteMultipartUploadResult></s3:CompleteMultipartUploadResult>',
  ],
  ['tags', TAGGING, 200, AWS, ''],
  ['tags of a plain server', TAGGING, 200, [], ''],
  ['an ACL', ACL, 200, [], ''],
  ['a restore', call('POST', '/b/k?restore'), 202, AWS, ''],
  ['a bucket', BUCKET, 200, ['Location', '/clips'], ''],
  ['a policy of a bucket', call('PUT', '/clips?policy'), 204, AWS, ''],
];

t.test('what servers of S3 say is never taken for a portal', async (t) => {
  for (const [what, asked, status, headers, text, md5] of REAL)
    t.equal(positiveDoubt(asked, { status, headers, text }, md5), undefined, what);
});

t.test('what a portal says is never taken for S3', async (t) => {
  for (const asked of [
    PUT,
    COPY,
    PART,
    PRESIGNED,
    DELETE,
    DELETE_OBJECTS,
    CREATE,
    COMPLETE,
    TAGGING,
    ACL,
    BUCKET,
  ]) {
    const what = `${asked.method} ${asked.url}`;
    for (const [form, answer] of Object.entries({
      page: { status: 200, headers: HTML, text: PAGE },
      'page without a type': { status: 200, headers: [], text: PAGE },
      'page with a comment and an ETag': {
        status: 200,
        headers: [...HTML, 'ETag', '"5f2-5a"'],
        text: `\uFEFF<!-- a -->${PAGE}`,
      },
      'static page with an ETag and no HTML tag at its start': {
        ...{ status: 200, headers: [...HTML, 'ETag', '"64b7e2a1-1f4"'], text: 'Please log in' },
      },
      'page of XHTML': { status: 200, headers: HTML, text: `<?xml version="1.0"?>\n${PAGE}` },
      'page in gzip': { status: 200, headers: [...HTML, 'Content-Encoding', 'gzip'], text: '\x1f\x8b' },
      script: { status: 200, headers: HTML, text: '<script>location="http://login"</script>' },
      JSON: { status: 200, headers: ['Content-Type', 'application/json'], text: '{"login":true}' },
    })) {
      t.match(
        positiveDoubt(asked, answer),
        /does not look like S3's: 200 with .*captive portal\?$/,
        `${what} ${form}`,
      );
    }
  }
  for (const asked of [PUT, PART, PRESIGNED])
    t.match(
      positiveDoubt(asked, { status: 204, headers: [], text: '' }),
      /no ETag/,
      'an empty answer has no object',
    );
  for (const asked of [COPY, CREATE, COMPLETE, DELETE_OBJECTS])
    t.ok(positiveDoubt(asked, { status: 200, headers: AWS, text: '' }), 'a document is missing');
});

t.test(
  'a refusal is S3’s where it has its document or its headers, and a portal’s where it is a page',
  async (t) => {
    const page = { headers: HTML, text: PAGE };
    for (const status of [302, 303, 400, 401, 403, 404, 407, 511])
      t.ok(negativeDoubt({ status, ...page }, false), `a page, ${status}`);
    for (const status of [500, 502, 503, 504])
      t.equal(negativeDoubt({ status, ...page }, false), undefined, `a proxy before S3 says ${status}`);
    const said = { headers: AWS, text: '' };
    for (const status of [301, 307, 400, 403, 404, 412])
      t.equal(negativeDoubt({ status, ...said }, false), undefined, `S3, ${status}`);
    const moved = { status: 307, headers: ['Location', 'http://b.s3.example/k'], text: '<Error></Error>' };
    t.equal(negativeDoubt(moved, true), undefined, 'a redirect of S3');
    const away = { status: 302, headers: ['Location', 'http://login.example/'], text: '' };
    t.match(negativeDoubt(away, false), /302 to http:\/\/login\.example\//);
    t.equal(
      negativeDoubt({ status: 403, headers: [], text: 'no' }, false),
      undefined,
      'a plain text is no page',
    );
  },
);

t.test('an ETag is believed until the upstream has shown that its ETags are MD5s', async (t) => {
  const etags = new EtagMemory();
  const seen = (id: string, etag: string, more = {}) =>
    etags.isCredible({ upstream: 'cam', id, etag, md5: MD5, encrypted: false, ...more });
  const other = MD5.replace('5', '6');
  t.ok(seen('1', other), 'a server whose ETags are something else');
  t.ok(seen('2', MD5));
  t.notOk(seen('3', other), 'damaged on its way');
  t.ok(seen('3', MD5), 'sent again');
  t.ok(seen('4', other, { encrypted: true }), 'SSE-KMS and SSE-C');
  t.ok(seen('5', `${other}-1`), 'no MD5 at all');
  t.ok(seen('6', other, { upstream: 'another' }));
  t.ok(seen('7', other, { md5: undefined }));
  t.notOk(seen('8', other));
  t.notOk(seen('8', other));
  t.ok(seen('8', other), 'no body is sent again for it for ever');
  t.ok(seen('9', other), 'and the upstream’s ETags are no MD5s any more');
  t.ok(hidesMd5([], ['x-amz-server-side-encryption', 'aws:kms']));
  t.ok(hidesMd5(['X-Amz-Server-Side-Encryption-Customer-Algorithm', 'AES256'], []));
  t.notOk(hidesMd5([], ['x-amz-server-side-encryption', 'AES256']), 'SSE-S3 keeps the MD5');
});

t.test('DeleteObjects is delivered when no key was refused', async (t) => {
  const answer = (text: string, whole = true) =>
    refusedKeys(DELETE_OBJECTS, { status: 200, headers: AWS, text, whole, error: undefined });
  const refused = (...codes: string[]) =>
    answer(
      `<DeleteResult>${codes.map((code) => `<Error><Key>k</Key><Code>${code}</Code></Error>`).join('')}</DeleteResult>`,
    );
  t.equal(refused(), undefined);
  t.match(refused('AccessDenied'), { outcome: 'unauthorized', words: /1 keys refused: AccessDenied/ });
  t.match(refused('AccessDenied', 'InternalError'), { outcome: 'retry' });
  t.match(refused('MalformedKey'), { outcome: 'dead' });
  t.match(answer('<DeleteResult><Del', false), { outcome: 'retry', words: /broke off/ });
  t.equal(
    refusedKeys(DELETE, { status: 204, headers: [], text: '', whole: true, error: undefined }),
    undefined,
  );
});

t.test('a request that its app has signed for S3 is known by its signature', async (t) => {
  const scope = 'AKID/20260101/eu-west-1/s3/aws4_request';
  t.ok(isSignedForS3({ url: '/b/k', headers: ['Authorization', `AWS4-HMAC-SHA256 Credential=${scope}, …`] }));
  const presigned = `http://x/b/k?X-Amz-Credential=${encodeURIComponent(scope)}&X-Amz-Signature=0`;
  t.ok(isSignedForS3({ url: presigned, headers: [] }));
  t.ok(isPresigned(presigned));
  t.ok(isPresigned('/k?AWSAccessKeyId=A&Signature=b&Expires=1'));
  t.notOk(isSignedForS3({ url: presigned.replace('s3', 'execute-api'), headers: [] }));
  t.notOk(isSignedForS3({ url: '/b/k?X-Amz-Signature=0&X-Amz-Credential=%E0%A4%A', headers: [] }));
  t.notOk(isPresigned('/k?x=1'));
});
