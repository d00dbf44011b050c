// The operator's document, written down once: the TypeScript type, the validation, the reference in docs/policy.md and
// (later) the Kubernetes CRD all come from here. So it keeps to what a structural schema may hold: no const, no
// additionalProperties beside properties, no uniqueItems, RE2 patterns. Unknown fields are found by src/policy/check.ts.
// `title` says what is expected, for messages; `description` says what the field does, for the reference.

import Type, { type Static } from 'typebox';
import { CLASSES, LINK_KINDS } from './policy.ts';
import {
  DURATION_FORM,
  DURATION_PATTERN,
  RATE_FORM,
  RATE_PATTERN,
  SIZE_FORM,
  SIZE_PATTERN,
} from './units.ts';

export const API_VERSION = 'layby.dev/v1alpha1';
export const KIND = 'Destination';

const LABEL = '[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';

const oneOf = <V extends string[]>(values: readonly [...V], description: string, preset?: V[number]) =>
  Type.Enum<V>(values, {
    type: 'string',
    description,
    ...(preset === undefined ? {} : { default: preset }),
  });

const duration = (description: string, preset?: string) =>
  Type.String({
    title: DURATION_FORM,
    pattern: DURATION_PATTERN,
    description,
    ...(preset === undefined ? {} : { default: preset }),
  });

const size = (description: string, preset?: string) =>
  Type.Optional(
    Type.String({
      title: SIZE_FORM,
      pattern: SIZE_PATTERN,
      description,
      ...(preset === undefined ? {} : { default: preset }),
    }),
  );

const Upstream = Type.Object(
  {
    url: Type.String({
      title: 'an http:// or https:// URL without user, query and fragment',
      pattern: '^https?://[^/?#@\\s]+(/[^?#\\s]*)?$',
      maxLength: 2048,
      description: 'Where requests really go. A path is put before the path the app asked for.',
    }),
    sign: Type.Optional(
      Type.Object(
        {
          aws: Type.Object(
            {
              service: Type.String({
                title: 'the name of an AWS service, like s3',
                pattern: '^[a-z0-9-]+$',
                maxLength: 63,
                description: 'The service to sign for.',
              }),
              region: Type.String({
                title: 'the name of an AWS region, like ap-northeast-1',
                pattern: '^[a-z0-9-]+$',
                maxLength: 63,
                description: 'The region to sign for.',
              }),
            },
            {
              description:
                'AWS Signature Version 4, made on the way out, at the first try as at every later one.',
            },
          ),
        },
        {
          description:
            'Signs requests with credentials that Layby holds, so that apps hold none. Left out: requests go unsigned by Layby.',
        },
      ),
    ),
  },
  { description: 'The server behind the hosts.' },
);

const Store = Type.Object(
  {
    mode: Type.Optional(
      oneOf(
        ['never', 'failover', 'always'],
        '`never`: nothing is stored. `failover`: stored while the link or the upstream is down, and while older entries wait. `always`: every storable request is stored first and sent behind (write-behind).',
        'failover',
      ),
    ),
    methods: Type.Optional(
      Type.Array(
        Type.String({
          title: 'an HTTP method like PUT',
          pattern: '^[A-Za-z][A-Za-z-]*$',
          maxLength: 32,
        }),
        {
          minItems: 1,
          maxItems: 32,
          default: ['PUT', 'POST', 'PATCH', 'DELETE'],
          description:
            'Requests with these methods may be stored; upper and lower case are one. Methods that only read (GET, HEAD, OPTIONS, TRACE) and CONNECT are refused here.',
        },
      ),
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

const linkBudget = (kind: string) =>
  Type.Optional(
    Type.Object(
      {
        daily: size('In one day, UTC.'),
        monthly: size('In one month, UTC.'),
      },
      { description: `Over ${kind}.` },
    ),
  );

const Replay = Type.Object(
  {
    concurrency: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 64,
        default: 4,
        description: 'Entries on their way to this destination at once.',
      }),
    ),
    rate: Type.Optional(
      Type.String({
        title: RATE_FORM,
        pattern: RATE_PATTERN,
        description:
          'The most that replay sends to this destination. Left out: as fast as the link takes it.',
      }),
    ),
    links: Type.Optional(
      Type.Array(oneOf(LINK_KINDS, 'A kind of link.'), {
        minItems: 1,
        maxItems: LINK_KINDS.length,
        description:
          'The kinds of links that stored requests may be sent over; `lte` is any mobile network. Left out: any. While nobody knows the kind of the link, this and the three below stop nothing.',
      }),
    ),
    metered: Type.Optional(
      oneOf(
        ['allow', 'deny'],
        'Whether stored requests are sent over a link that costs by the byte: NetworkManager says so, or it is a mobile network.',
        'allow',
      ),
    ),
    roaming: Type.Optional(
      oneOf(['allow', 'deny'], 'Whether stored requests are sent while the modem roams.', 'allow'),
    ),
    budget: Type.Optional(
      Type.Object(
        {
          wired: linkBudget('a cable'),
          wifi: linkBudget('Wi-Fi'),
          lte: linkBudget('a mobile network'),
          other: linkBudget('any other link'),
        },
        {
          description:
            'Stored requests of this destination are sent as long as replay has sent less than this over the kind of link, for all destinations together. So what matters more gets the larger budget.',
        },
      ),
    ),
    resume: Type.Optional(
      oneOf(
        ['none', 'tus'],
        'How large POSTs are sent to a destination that is not S3. `none`: as one request, from the start after a cut. `tus`: as an upload of the tus 1.0 protocol, which goes on where it was; the URL that the app posts to must be where the server takes such uploads. Objects go to S3 in parts whatever stands here.',
        'none',
      ),
    ),
    retry: Type.Optional(
      Type.Object(
        { max: Type.Optional(duration('The longest pause between two tries.', '30s')) },
        {
          default: {},
          description: 'How a failed entry is tried again: pauses grow, with jitter, up to `max`.',
        },
      ),
    ),
  },
  { default: {}, description: 'How stored requests are sent once they can be.' },
);

export const DestinationSchema = Type.Object({
  apiVersion: oneOf([API_VERSION], 'The version of this form.'),
  kind: oneOf([KIND], 'The kind of this document.'),
  metadata: Type.Object(
    {
      name: Type.String({
        title: 'a DNS label: lower-case letters, digits and hyphens, 63 at most',
        pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$',
        description: 'Names the destination in logs, metrics and the store. No two may have the same.',
      }),
    },
    { description: 'Who this is.' },
  ),
  spec: Type.Object(
    {
      hosts: Type.Array(
        Type.String({
          title: 'a host name without port, like api.example, or *.example for any name below it',
          pattern: `^((\\*\\.)?${LABEL}(\\.${LABEL})*|\\[[0-9A-Fa-f:.]+\\])$`,
          maxLength: 253,
        }),
        {
          minItems: 1,
          maxItems: 256,
          description:
            'What apps call, without port: names, IPv4 addresses, `[IPv6]` addresses, or `*.name` for every name below it at any depth. Upper and lower case are one. An exact name wins over a wildcard, a longer wildcard over a shorter one. No two destinations may claim the same.',
        },
      ),
      upstream: Upstream,
      store: Type.Optional(Store),
      replay: Type.Optional(Replay),
    },
    { description: 'What shall happen to its requests.' },
  ),
});

/** A document as an operator wrote it: defaults not yet filled in, units not yet resolved. */
export type DestinationDocument = Static<typeof DestinationSchema>;

/** The part of JSON Schema that the schema above uses. */
export interface JsonSchema {
  type?: 'object' | 'array' | 'string' | 'integer';
  title?: string;
  description?: string;
  default?: unknown;
  enum?: readonly string[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  maxLength?: number;
  required?: readonly string[];
  properties?: Readonly<Record<string, JsonSchema>>;
  items?: JsonSchema;
}

/** The same schema as plain JSON Schema. */
export const DESTINATION_JSON_SCHEMA: JsonSchema = JSON.parse(JSON.stringify(DestinationSchema));
