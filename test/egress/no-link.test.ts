import t from 'tap';
import { noLinkReason } from '../../src/egress/no-link.ts';

const reset = (cause: string): string => `UF upstream_reset_before_response_started{${cause}}`;
const SHOWN: [what: string, value: string, reason: string | RegExp][] = [
  ['flags alone', 'UF', 'UF'],
  ['no host', 'UH no_healthy_upstream', 'UH: no healthy upstream'],
  [
    'refused',
    reset('remote_connection_failure|delayed_connect_error:_Connection_refused'),
    'UF: delayed connect error: Connection refused',
  ],
  [
    'closed',
    'UC upstream_reset_before_response_started{connection_termination}',
    'UC: connection termination',
  ],
  [
    'another certificate',
    reset(
      'remote_connection_failure|TLS_error:|268435581:SSL_routines:CERTIFICATE_VERIFY_FAILED:TLS_error_end',
    ),
    /^UF: TLS error:.*CERTIFICATE VERIFY FAILED/,
  ],
  [
    'nobody at the address',
    reset('remote_connection_failure|delayed_connect_error:_Connection_timed_out'),
    /^UF: the address does not answer; .*upstream\.connectTimeout/,
  ],
];

for (const [what, value, reason] of SHOWN)
  t.test(`what Envoy says is told in words: ${what}`, async (t) => {
    const said = noLinkReason(value, { url: 'https://a.example' }, false);
    if (typeof reason === 'string') t.equal(said, reason);
    else t.match(said, reason);
  });

t.test(
  'a connection timeout is named with the time, and with the field of the policy that changes it',
  async (t) => {
    const said = (connectTimeout: number | undefined, impatient: boolean): string =>
      noLinkReason(
        reset('connection_timeout'),
        { url: 'https://a.example', ...(connectTimeout && { connectTimeout }) },
        impatient,
      );
    t.match(said(undefined, false), /no connection within 30s; .*upstream\.connectTimeout/);
    t.match(said(undefined, true), /within 10s/);
    t.match(said(2_000, true), /within 2s/);
    t.match(said(2_000, false), /within 30s/, 'replay waits no shorter');
    t.match(said(60_000, false), /within 60s/);
    t.match(said(1e15, false), /within 3600s/, 'and never for ever');
  },
);
