// A policy that comes as JSON from a part of another version, perhaps: read whole or not at all. Not the operator's document, which schema.ts
// describes: what the control plane made of it.

import { LaybyError, messageOf } from '../telemetry/error.ts';
import { CLASSES, type Destination, type Policy } from './policy.ts';

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');
const isOneOf = (values: readonly unknown[]) => (value: unknown) => values.includes(value);

/** What everything that is done with a destination relies on. */
const DESTINATION: { [place: string]: (value: unknown) => boolean } = {
  name: (value) => typeof value === 'string' && value !== '',
  hosts: isTexts,
  'upstream.url': (value) => typeof value === 'string' && URL.canParse(value),
  'store.mode': isOneOf(['never', 'failover', 'always']),
  'store.methods': isTexts,
  'store.receipt': isOneOf(['redirect', 'accepted', 's3', 'auto']),
  'store.order': isOneOf(['none', 'key', 'strict']),
  'store.class': isOneOf(CLASSES),
  'replay.retry.max': (value) => typeof value === 'number',
};

const at = (value: unknown, place: string): unknown =>
  place.split('.').reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), value);

/** Errors: LAYBY_POLICY_NOT_UNDERSTOOD. */
export function asPolicy(version: string, json: string): Policy {
  let content: unknown;
  try {
    content = JSON.parse(json);
  } catch (cause) {
    throw notUnderstood(`it is not JSON (${messageOf(cause)})`, cause);
  }
  const { destinations, services, passthrough } = isObject(content) ? content : {};
  if (!Array.isArray(destinations)) throw notUnderstood('it has no destinations');
  destinations.forEach((destination: unknown, number) => {
    for (const [place, isRight] of Object.entries(DESTINATION))
      if (!isRight(at(destination, place)))
        throw notUnderstood(`destinations[${number}].${place} is ${JSON.stringify(at(destination, place))}`);
  });
  if (services !== undefined && !Array.isArray(services)) throw notUnderstood('services is no list');
  return {
    version,
    destinations: destinations as Destination[],
    ...(services !== undefined && { services: services as NonNullable<Policy['services']> }),
    ...(passthrough === 'allow' && { passthrough }),
  };
}

const notUnderstood = (reason: string, cause?: unknown): LaybyError =>
  new LaybyError('LAYBY_POLICY_NOT_UNDERSTOOD', `the policy of the control plane cannot be read: ${reason}`, {
    remedy: 'run the control plane and the queue in one version of Layby',
    ...(cause !== undefined && { cause }),
  });
