// What is kept when a request cannot be sent at once, and how.

import Type from 'typebox';
import { CLASSES } from '../policy.ts';
import { SIZE_FORM, SIZE_PATTERN } from '../units.ts';
import { duration, httpMethod, oneOf, size } from './forms.ts';

export const Store = Type.Object(
  {
    mode: Type.Optional(
      oneOf(
        ['never', 'failover', 'always'],
        '`never`: nothing is stored. `failover`: stored while the link or the upstream is down, and while older entries wait. `always`: every storable request is stored first and sent behind (write-behind).',
        'failover',
      ),
    ),
    methods: Type.Optional(
      Type.Array(httpMethod(), {
        minItems: 1,
        maxItems: 32,
        default: ['PUT', 'POST', 'PATCH', 'DELETE'],
        description:
          'Requests with these methods may be stored; upper and lower case are one. Methods that only read (GET, HEAD, OPTIONS, TRACE) and CONNECT are refused here.',
      }),
    ),
    receipt: Type.Optional(
      oneOf(
        ['redirect', 'accepted', 's3', 'auto'],
        'What the app is told of a stored request. `redirect`: 307 to its status page. `accepted`: 202. `s3`: 200 with the ETag, as S3 would say. `auto`: `s3` to S3 SDKs, else `redirect`.',
        'redirect',
      ),
    ),
    order: Type.Optional(
      oneOf(
        ['none', 'key', 'strict'],
        'What may overtake what. `none`: anything. `key`: requests for one host and path, whatever the method, keep their order. `strict`: all requests of the destination do.',
        'key',
      ),
    ),
    patience: Type.Optional(
      duration(
        'How long an app waits for the answer to a body that goes through the queue while online (over 1 MiB, or of unknown length), counted from the end of its body, which the queue then takes at the speed of the disk. After that it gets its receipt, and the same upload goes on behind. Left out: the app is read at the speed of the link, and waits as long as it takes.',
      ),
    ),
    stream: Type.Optional(
      Type.Object(
        {
          segment: Type.Object(
            {
              bytes: size('The most that a segment holds.', '8MiB'),
              time: Type.Optional(duration('A segment that is open for so long is closed.', '10s')),
              name: Type.Optional(
                Type.String({
                  title: 'a path with {n} in it, like {path}/{n}',
                  pattern: '^(/|\\{path\\})[^?#\\s]*\\{n\\}[^?#\\s]*$',
                  maxLength: 1024,
                  default: '{path}/{n}',
                  description:
                    'The path of a segment. `{path}` is the path that the app called, `{n}` the number of the segment, of six digits, from 0.',
                }),
              ),
            },
            {
              description:
                'Each segment is a request of its own, safe and on its way while the app goes on; they are sent in their order. The last one, which may be empty, says how the stream ended.',
            },
          ),
        },
        {
          description:
            'Cuts bodies of unknown length (chunked) into segments, with a link and without. Left out: such a body is one request, as the app sent it.',
        },
      ),
    ),
    reads: Type.Optional(
      oneOf(
        ['stored', 'never'],
        'What a GET or HEAD that reaches the queue is told of a URL whose PUT or DELETE still waits. `stored`: the stored body, or 404. `never`: nothing; use it where the destination makes something else of a PUT than what a GET then gives.',
        'stored',
      ),
    ),
    listings: Type.Optional(
      oneOf(
        ['unavailable', 'pending'],
        'What a listing of S3 (ListObjects, ListObjectsV2) gets while the bucket cannot be asked. `unavailable`: 503, since a program that mirrors would take whatever is not listed for deleted. `pending`: only the objects that wait in the queue, marked with `layby-answer: pending`. While the bucket can be asked, its listing is merged with what waits either way.',
        'unavailable',
      ),
    ),
    unknown: Type.Optional(
      oneOf(
        ['unavailable', 'absent'],
        'What GetObject and HeadObject of S3 get for an object of which nothing waits, while the bucket cannot be asked. `unavailable`: 503. `absent`: 404 `NoSuchKey`, marked with `layby-answer: assumed`, for programs that look before they upload; CreateBucket then gets 409 `BucketAlreadyOwnedByYou`. A program then believes that the object does not exist: it may upload it again, or overwrite it.',
        'unavailable',
      ),
    ),
    class: Type.Optional(
      oneOf(
        CLASSES,
        'From the lowest to the highest: the lowest is evicted first and weighs least when the backlog is sent.',
        'normal',
      ),
    ),
    ttl: Type.Optional(
      duration(
        'An entry that waited longer is dropped, counted and logged. Left out: entries wait for ever.',
      ),
    ),
    quota: Type.Optional(
      Type.String({
        title: SIZE_FORM,
        pattern: SIZE_PATTERN,
        description:
          'The most that entries of this destination may take on the disk. Left out: only the quota of the whole store counts.',
      }),
    ),
    whenFull: Type.Optional(
      oneOf(
        ['refuse', 'evict'],
        'When the quota is reached. `refuse`: new requests get 507. `evict`: entries of the lowest class go first, the oldest of them first.',
        'refuse',
      ),
    ),
  },
  { default: {}, description: 'What is kept when a request cannot be sent at once, and how.' },
);
