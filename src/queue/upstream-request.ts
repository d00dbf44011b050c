// One request on its way out while its client is still there.

import type { Answer, Egress, OutgoingBody } from '../egress/egress.ts';
import { towards } from '../policy/in-force.ts';
import type { Destination } from '../policy/policy.ts';
import type { EntryHead } from '../store/store.ts';

/** The destination's answer, or why there is none. */
export type UpstreamResult = Answer | { broken: string };

export class UpstreamRequest {
  readonly #abort = new AbortController();
  /** Never rejects. */
  readonly sent: Promise<UpstreamResult>;
  /** The same, as far as it is known now. */
  now: UpstreamResult | undefined;

  /** `ready`: not before the head is whole. */
  constructor(
    egress: Pick<Egress, 'send'>,
    destination: Destination,
    head: EntryHead,
    body: OutgoingBody,
    ready?: Promise<void>,
  ) {
    const upstream = towards(destination, head.id);
    const options = { signal: this.#abort.signal, impatient: true };
    const send = () => egress.send(upstream, head, body, options);
    this.sent = (ready ? ready.then(send) : send()).then(
      (answer): UpstreamResult => {
        if (answer.noLink === undefined) return answer;
        answer.body.resume().on('error', () => {});
        return { broken: `no link (${answer.noLink})` };
      },
      (error: Error) => ({ broken: error.message }),
    );
    void this.sent.then((sent) => {
      this.now = sent;
    });
  }

  /** Cuts the connection to the egress listener: what was sent does not look whole to anybody, and a response that has begun is
   *  destroyed. */
  abort(): void {
    this.#abort.abort();
  }
}
