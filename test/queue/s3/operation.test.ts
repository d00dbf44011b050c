// Which operation a request is, and of which object.

import t from 'tap';
import { type Operation, s3Request } from '../../../src/queue/s3/operation.ts';
import { destinationOf } from '../scene.ts';

const at = (url: string) => ({ ...destinationOf('s3'), upstream: { url } });
const plain = at('https://s3.example');

const OPERATIONS: [request: string, operation: Operation, copies?: boolean][] = [
  ['PUT /b/k', 'PutObject'],
  ['PUT /b/k?x-id=PutObject', 'PutObject'],
  ['PUT /b/k', 'CopyObject', true],
  ['GET /b/k?response-content-type=a', 'GetObject'],
  ['GET /b/k?versionId=1', 'ReadObject'],
  ['GET /b/k?partNumber=1', 'GetObject'],
  ['HEAD /b/k?partNumber=1', 'HeadObject'],
  ['GET /b/k?partNumber=1&versionId=1', 'ReadObject'],
  ['GET /b/k?tagging', 'ReadObject'],
  ['POST /b/k?select&select-type=2', 'Other'],
  ['GET /b?uploads', 'ListMultipartUploads'],
  ['GET /b?versions&prefix=a', 'ListObjectVersions'],
  ['HEAD /b/k', 'HeadObject'],
  ['DELETE /b/k', 'DeleteObject'],
  ['DELETE /b/k?versionId=1', 'ChangeObject'],
  ['PUT /b/k?tagging', 'ChangeObject'],
  ['PUT /b/k?acl=', 'ChangeObject'],
  ['PUT /b/k?renameObject', 'Other'],
  ['POST /b/k?uploads', 'CreateMultipartUpload'],
  ['POST /b/k?uploads=&x-id=CreateMultipartUpload', 'CreateMultipartUpload'],
  ['PUT /b/k?partNumber=1&uploadId=x', 'UploadPart'],
  ['PUT /b/k?uploadId=x&partNumber=1', 'UploadPartCopy', true],
  ['PUT /b/k?uploadId=x', 'Other'],
  ['POST /b/k?uploadId=x', 'CompleteMultipartUpload'],
  ['DELETE /b/k?uploadId=x', 'AbortMultipartUpload'],
  ['GET /b/k?uploadId=x&max-parts=2', 'ListParts'],
  ['POST /b/k?restore', 'Other'],
  ['GET /b', 'ListObjects'],
  ['GET /b/', 'ListObjects'],
  ['GET /b?list-type=2&prefix=uploads', 'ListObjectsV2'],
  ['HEAD /b', 'HeadBucket'],
  ['GET /b?location', 'GetBucketLocation'],
  ['POST /b?delete', 'DeleteObjects'],
  ['PUT /b', 'CreateBucket'],
  ['PUT /b?versioning', 'Other'],
  ['GET /', 'Other'],
];

for (const [request, operation, copies] of OPERATIONS)
  t.test(`${request}${copies ? ' that copies' : ''} is ${operation}`, async (t) => {
    const [method, path] = request.split(' ') as [string, string];
    t.equal(s3Request(plain, method, path, copies).operation, operation);
  });

t.test('bucket and key are what the upstream sees, each byte in one spelling', async (t) => {
  const object = (url: string, path: string) => {
    const { bucket, key } = s3Request(at(url), 'PUT', path);
    return [bucket, key];
  };
  t.same(object('https://s3.example', '/b/a/%7eb+c'), ['b', 'a/~b%2Bc'], 'path style');
  t.same(object('https://s3.example/b', '/a/b'), ['b', 'a/b'], 'the bucket in the URL of the upstream');
  t.same(object('https://b.s3.eu-west-1.amazonaws.com', '/a/b'), ['b', 'a/b'], 'in its host');
  t.same(object('https://my.b.s3.amazonaws.com', '/a'), ['my.b', 'a'], 'a bucket with a dot');
  t.same(object('https://s3.eu-west-1.amazonaws.com', '/b/a'), ['b', 'a']);
  t.same(object('https://b.s3.amazonaws.com', '/'), ['b', ''], 'a bucket alone');
  t.same(object('https://s3.example', '/b//a/../c?x'), ['b', '/a/../c'], 'nothing is resolved');
  t.same(object('https://s3.example', '/b/%E3%81%82%2f'), ['b', '%E3%81%82/']);
});
