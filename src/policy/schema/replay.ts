// How stored requests are sent once they can be.

import Type from 'typebox';
import { LINK_KINDS } from '../policy.ts';
import { RATE_FORM, RATE_PATTERN } from '../units.ts';
import { duration, oneOf, size } from './forms.ts';

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

const linkRate = (kind: string) =>
  Type.Optional(Type.String({ title: RATE_FORM, pattern: RATE_PATTERN, description: `Over ${kind}.` }));

const deliveredHeader = Type.String({
  title: 'the name of a header, like X-Upload-Id',
  pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
  maxLength: 256,
  description: 'The name of the header.',
});

export const Replay = Type.Object(
  {
    concurrency: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 64,
        description:
          'Entries on their way to this destination at once. Left out: 4, and of small ones as many as are 1 MiB together, 64 at most, since each of them takes a round trip.',
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
    linkRates: Type.Optional(
      Type.Object(
        {
          wired: linkRate('a cable'),
          wifi: linkRate('Wi-Fi'),
          lte: linkRate('a mobile network'),
          other: linkRate('any other link'),
        },
        {
          description:
            'The most that replay sends over a kind of link, to all destinations together. Where destinations name different rates for one kind, the lowest holds for all of them. While nobody knows the kind of the link, none does.',
        },
      ),
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
        ['none', 'tus', 'ietf'],
        "How bodies over 1 MiB are sent to a destination that is not S3. `none`: as one request, from the start after a cut. `tus`: a POST becomes an upload of the tus 1.0 protocol, which goes on where it was; the URL that the app posts to must be where the server takes such uploads. `ietf`: POST, PUT and PATCH offer the server to go on by the IETF's resumable uploads (draft 12); where it does not, they are sent as with `none`. Objects go to S3 in parts whatever stands here.",
        'none',
      ),
    ),
    delivered: Type.Optional(
      Type.Object(
        {
          status: Type.Optional(
            Type.Array(Type.Integer({ minimum: 200, maximum: 499 }), {
              minItems: 1,
              maxItems: 64,
              description:
                'Status codes that count as delivered, like 201, or 409 where it means that the request is there already. Not 401, 403, 407, 408, 425 and 429. Left out: 200 to 299.',
            }),
          ),
          headers: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  name: deliveredHeader,
                  value: Type.Optional(
                    Type.String({
                      title: 'a value of a header',
                      pattern: '^[!-~]([ -~]*[!-~])?$',
                      maxLength: 1024,
                      description: 'Its value is this, letter for letter.',
                    }),
                  ),
                  regex: Type.Optional(
                    Type.String({
                      title: 'a regular expression (RE2)',
                      pattern: '^[ -~]+$',
                      maxLength: 1024,
                      description: 'The whole value is this, as RE2 reads it. Not together with `value`.',
                    }),
                  ),
                },
                { title: 'a header with name, and perhaps value or regex' },
              ),
              {
                minItems: 1,
                maxItems: 16,
                description: 'Headers that the answer must have, all of them.',
              },
            ),
          ),
          html: Type.Optional(
            oneOf(
              ['allow', 'deny'],
              'Whether an HTML page counts. Left out: `allow` for an upstream over https, `deny` over http, where a captive portal can answer.',
            ),
          ),
        },
        {
          description:
            'Which answers to a stored request count as delivered. Any other 2xx is taken for that of a captive portal: the destination pauses, and the request is sent again. Left out: any 2xx but an HTML page over http; of S3 only what S3 answers. For S3 this takes the place of that check.',
        },
      ),
    ),
    retry: Type.Optional(
      Type.Object(
        {
          max: Type.Optional(duration('The longest pause between two tries.', '30s')),
          giveUpAfter: Type.Optional(
            duration(
              'An entry becomes a dead letter that the destination has refused for so long while it took others: with 500, 401, 403, 421 or 423. Answers that speak of the server (408, 425, 429, 502 and above) count a 24th of the time. Time in which nothing is taken does not count. At least 1m.',
              '1h',
            ),
          ),
        },
        {
          default: {},
          description: 'How a failed entry is tried again: pauses grow, with jitter, up to `max`.',
        },
      ),
    ),
  },
  { default: {}, description: 'How stored requests are sent once they can be.' },
);
