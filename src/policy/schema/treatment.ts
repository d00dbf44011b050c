// What is done with a request on its way: where it goes, and what is changed of it. A destination says it for all of its requests,
// and a rule for some.

import Type from 'typebox';
import { duration, httpUrl, oneOf, percent } from './forms.ts';

const HEADER_NAME = "[A-Za-z0-9!#$%&'*+.^_`|~-]+";

const header = Type.String({
  title: 'a header like "X-Fleet: north"',
  // Visible ASCII and spaces, RFC 9110 section 5.5.
  pattern: `^${HEADER_NAME}: ?[!-~]([ -~]*[!-~])?$`,
  maxLength: 4096,
});

const headerName = Type.String({
  title: 'the name of a header, like X-Debug',
  pattern: `^${HEADER_NAME}$`,
  maxLength: 256,
});

const edit = (description: string) =>
  Type.Optional(
    Type.Object(
      {
        set: Type.Optional(
          Type.Array(header, {
            minItems: 1,
            maxItems: 64,
            description: 'Each is there once and with this value, whatever was there before.',
          }),
        ),
        remove: Type.Optional(
          Type.Array(headerName, { minItems: 1, maxItems: 64, description: 'These are taken off.' }),
        ),
      },
      { description },
    ),
  );

export const Upstream = Type.Object(
  {
    url: httpUrl(
      'Where requests really go. A path is put before the path the app asked for. Of a name all addresses are tried, IPv6 and IPv4 in turn. In a cluster NAME.NAMESPACE.svc is a Service of Kubernetes.',
    ),
    sign: Type.Optional(
      Type.Object(
        {
          aws: Type.Object(
            {
              service: Type.String({
                title: 'the name of an AWS service, like s3',
                pattern: '^[a-z0-9-]+$',
                maxLength: 63,
                description:
                  'The service to sign for. For all but S3 and its kin the body is signed as well: see docs/wire.md.',
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
    protocol: Type.Optional(
      oneOf(
        ['http1', 'http2'],
        'What it speaks: HTTP/1.1, or HTTP/2, which gRPC needs; over https it must agree to `h2`. For what goes direct and for what was stored; copies (`mirror`) go by HTTP/1.1.',
        'http1',
      ),
    ),
    connectTimeout: Type.Optional(
      duration(
        'How long one attempt to connect may take on the direct path, with the handshake of TLS: an hour at most. Left out: 10s. An address that does not answer at all is given up after 3s, or after this where it is longer; so is an established connection that falls silent. Stored requests have 30s, or this where it is longer.',
      ),
    ),
    split: Type.Optional(
      Type.Array(
        Type.Object({
          url: httpUrl('Where this part goes. Its path must be that of `upstream.url`.'),
          percent: percent('How much of the requests.'),
        }),
        {
          minItems: 1,
          maxItems: 16,
          description:
            'A part of the requests goes elsewhere, drawn by chance for each; what is left of 100 goes to `url`. A stored request is drawn once, by its id: all of its tries go to one upstream. Not together with `sign`.',
        },
      ),
    ),
    mirror: Type.Optional(
      Type.Object(
        {
          url: httpUrl('Where the copies go. Its path must be that of `upstream.url`.'),
          percent: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 100,
              default: 100,
              description: 'How much of the requests.',
            }),
          ),
        },
        {
          description:
            'Copies of requests, bodies and all, whose answers nobody waits for; of what is sent direct, and of each try of what is stored. Nothing of a copy is stored or repeated. Not together with `sign`.',
        },
      ),
    ),
  },
  { description: 'The server behind the hosts.' },
);

/** What a destination and each of its rules may say. */
export const Treatment = {
  headers: Type.Optional(
    Type.Object(
      {
        request: edit(
          'Of requests, before they are signed; of a stored one when it is sent, by the policy of that moment.',
        ),
        response: edit('Of what the app gets, whoever answers: the destination, or Layby with a receipt.'),
      },
      { description: 'End-to-end headers that are set or taken off.' },
    ),
  ),
  answerTimeout: Type.Optional(
    duration(
      'How long the destination may take, from the end of a request to the end of its answer; at least 2s. After that a direct request that may be stored is stored, and another fails with 504; a try of a stored one is given up, and comes again. Left out: as long as it takes, while the connection lives and is not silent for an hour.',
    ),
  ),
  retries: Type.Optional(
    Type.Object(
      {
        on: Type.Array(Type.Integer({ minimum: 408, maximum: 599 }), {
          minItems: 1,
          maxItems: 32,
          description:
            'Status codes that do not count as an answer: 408, 425, 429 and 500 to 599. A direct request that may be stored is stored at the first of them, and replay sends it again. Replay tries most of these again whatever stands here, and 501, 505 and 510 where they stand here; else those are dead letters.',
        }),
        attempts: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 10,
            default: 2,
            description:
              'How often a request that is not stored is sent again at once, until the app gets the answer that there is.',
          }),
        ),
      },
      { description: 'Left out: every answer of the destination is the answer.' },
    ),
  ),
  rateLimit: Type.Optional(
    Type.Object(
      {
        requests: Type.Integer({
          minimum: 1,
          maximum: 1_000_000,
          description: 'How many may come from the apps of one sidecar.',
        }),
        per: Type.Optional(duration('In this time; at least 50ms.', '1s')),
        burst: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 1_000_000,
            description: 'How many may come at once after a pause. Left out: as `requests`.',
          }),
        ),
      },
      {
        description:
          'More than that get 429, with and without a link: nothing of them is stored. What is stored is not sent at this pace: see `replay.rate`. A change of the policy fills the bucket.',
      },
    ),
  ),
};
