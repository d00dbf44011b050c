// Events of the policy objects (events.k8s.io/v1): one for each transition of a status, so that what the status before has said is not said again
// after a restart or by another leader.

import type { LaybyError } from '../../../telemetry/error.ts';
import { API_VERSION } from '../../schema/forms.ts';
import type { Api } from './api.ts';
import { microTime } from './micro-time.ts';
import type { PolicyObject } from './objects.ts';
import type { Condition, Status } from './status.ts';

/** At once, and then one each second: etcd keeps each for an hour. */
const BURST = 25;
const PER_S = 1;
/** Of the API. */
const LONGEST_NOTE = 1024;

export interface Transition {
  reason: 'Refused' | 'Nacked' | 'DeadLetters' | 'QueueAway' | 'DeletionsHeld';
  note: string;
}

/** An object that an event is about. */
export interface Regarding {
  apiVersion: string;
  kind: string;
  name: string;
  /** Left out of what is in none. */
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
}

export const regarding = ({ kind, metadata }: PolicyObject): Regarding => {
  const { namespace, name, uid, resourceVersion } = metadata;
  return { apiVersion: API_VERSION, kind, namespace, name, uid, resourceVersion };
};

/** The API wants events of what is in no namespace there. */
const DEFAULT_NAMESPACE = 'default';

const conditionOf = (status: Status | undefined, type: string): Condition | undefined =>
  status?.conditions?.find((each) => each.type === type);

/** What has become worse from one status to the next. Pure. */
export const transitions = (before: Status | undefined, after: Status): Transition[] => {
  const began = (type: string, is: (condition: Condition | undefined) => boolean): string | undefined => {
    const condition = conditionOf(after, type);
    return is(condition) && !is(conditionOf(before, type)) ? condition?.message : undefined;
  };
  const refused = began('Accepted', (condition) => condition?.status === 'False');
  const nacked = began('Nacked', (condition) => condition?.status === 'True');
  const away = began('Ready', (condition) => condition?.reason === 'QueueAway');
  const { dead = 0 } = after.entries ?? {};
  const more = dead - (before?.entries?.dead ?? 0);
  return [
    ...(refused === undefined ? [] : [{ reason: 'Refused' as const, note: refused }]),
    ...(nacked === undefined ? [] : [{ reason: 'Nacked' as const, note: nacked }]),
    ...(more > 0
      ? [
          {
            reason: 'DeadLetters' as const,
            note: `${more} more dead ${more === 1 ? 'letter' : 'letters'}, ${dead} now: \`layby queue ls --state dead\` on the vehicle`,
          },
        ]
      : []),
    ...(away === undefined ? [] : [{ reason: 'QueueAway' as const, note: away }]),
  ];
};

export interface EventsOptions {
  api: Api;
  /** Of this process. */
  instance: string;
  onProblem: (problem: LaybyError) => void;
}

export class Events {
  readonly #options: EventsOptions;
  #room = BURST;
  #countedAt = performance.now();
  /** That the server took. */
  sent = 0;
  /** For want of room. */
  omitted = 0;

  constructor(options: EventsOptions) {
    this.#options = options;
  }

  async send(about: Regarding, { reason, note }: Transition): Promise<void> {
    const now = performance.now();
    this.#room = Math.min(BURST, this.#room + ((now - this.#countedAt) / 1_000) * PER_S);
    this.#countedAt = now;
    if (this.#room < 1) {
      this.omitted += 1;
      return;
    }
    this.#room -= 1;
    const { name, namespace = DEFAULT_NAMESPACE } = about;
    const { api, instance, onProblem } = this.#options;
    try {
      await api.post(`/apis/events.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/events`, {
        ...{
          apiVersion: 'events.k8s.io/v1',
          kind: 'Event',
          metadata: { generateName: `${name}-`, namespace },
        },
        eventTime: microTime(),
        ...{ type: 'Warning', action: 'Reconcile', reason, note: note.slice(0, LONGEST_NOTE) },
        ...{ reportingController: 'layby.dev/cluster', reportingInstance: instance.slice(0, 128) },
        regarding: about,
      });
      this.sent += 1;
    } catch (error) {
      onProblem(error as LaybyError);
    }
  }
}
