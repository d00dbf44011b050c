// One request on its way out while its app is still there.

import type { Answer, Egress, OutgoingBody } from '../egress/egress.ts';
import { towards } from '../policy/in-force.ts';
import type { Destination } from '../policy/policy.ts';
import type { EntryHead } from '../store/store.ts';

/** The destination's answer, or why there is none. */
export type Sent = Answer | { broken: string };

export class Upload {
  readonly #abort = new AbortController();
  /** Never rejects. */
  readonly sent: Promise<Sent>;
  /** The same, as far as it is known now. */
  now: Sent | undefined;

  /** `ready`: not before the head is whole. */
  constructor(
    egress: Egress,
    destination: Destination,
    head: EntryHead,
    body: OutgoingBody,
    ready?: Promise<void>,
  ) {
    const to = towards(destination, head.id);
    const options = { signal: this.#abort.signal, impatient: true };
    const send = () => egress.send(to, head, body, options);
    this.sent = (ready ? ready.then(send) : send()).then(
      (answer): Sent => {
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

  /** Cuts the connection to the egress listener: what was sent does not look whole to anybody. */
  abort(): void {
    this.#abort.abort();
  }
}
