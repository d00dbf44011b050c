// What is other for some requests of a destination: by path, by method, by app.

import Type, { type TSchema } from 'typebox';
import { httpMethod } from './forms.ts';
import { Store } from './store.ts';
import { Treatment, Upstream } from './treatment.ts';

const LABEL = '[A-Za-z0-9]([A-Za-z0-9_./-]{0,251}[A-Za-z0-9])?';

const path = (description: string, more: { title: string; pattern: string }) =>
  Type.Optional(Type.String({ ...more, maxLength: 1024, description }));

const aPath = { title: 'a path that begins with /, without query', pattern: '^/[^?#\\s]*$' };

const Match = Type.Object(
  {
    path: Type.Optional(
      Type.Object(
        {
          prefix: path('The path begins with this: `/up` also matches `/upload`.', aPath),
          exact: path('The path is this.', aPath),
          regex: path('The whole path is this, as RE2 reads it.', {
            title: 'a regular expression (RE2)',
            pattern: '^[!-~]+$',
          }),
        },
        {
          description:
            'One of the three. The path as the app wrote it, without the query: nothing is decoded, and nothing of `..` resolved. Left out: any.',
        },
      ),
    ),
    methods: Type.Optional(
      Type.Array(httpMethod(), {
        minItems: 1,
        maxItems: 32,
        description: 'One of these. Left out: any.',
      }),
    ),
    apps: Type.Optional(
      Type.Object(
        {
          nodes: Type.Optional(
            Type.Array(
              Type.String({ title: 'the node id of a sidecar', pattern: '^[!-~]+$', maxLength: 256 }),
              {
                minItems: 1,
                maxItems: 256,
                description: 'The node id is one of these.',
              },
            ),
          ),
          labels: Type.Optional(
            Type.Array(
              Type.String({
                title: 'a label like team=video',
                pattern: `^${LABEL}=(${LABEL})?$`,
                maxLength: 512,
              }),
              {
                minItems: 1,
                maxItems: 16,
                description:
                  'The node has all of these: `metadata.layby.labels` in the bootstrap of its sidecar.',
              },
            ),
          ),
        },
        {
          description: 'The apps behind these sidecars. Left out: any.',
        },
      ),
    ),
  },
  { description: 'All that is named here must be so.' },
);

/** The same field, and left out it is what the destination says. */
const inherited = <Schema extends TSchema>(field: Schema) => {
  const { default: _, ...rest } = field as Schema & { default?: unknown };
  return Type.Optional(rest as unknown as Schema);
};

const { mode, receipt, reads, listings, unknown, class: cls, patience, ttl } = Store.properties;

export const Rule = Type.Object(
  {
    match: Match,
    upstream: Type.Optional(Upstream),
    ...Treatment,
    store: Type.Optional(
      Type.Object(
        {
          mode: inherited(mode),
          receipt: inherited(receipt),
          reads: inherited(reads),
          listings: inherited(listings),
          unknown: inherited(unknown),
          class: inherited(cls),
          patience: inherited(patience),
          ttl: inherited(ttl),
        },
        {
          description:
            "Fields left out are as in `spec.store`; order, methods, quota and `whenFull` are the destination's alone.",
        },
      ),
    ),
  },
  { title: 'a rule with match and what is other' },
);
