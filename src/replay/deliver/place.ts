// Where an upload was begun, so that it goes on, or is taken back, there and nowhere else.

import { upstreamsOf } from '../../policy/in-force.ts';
import type { Destination } from '../../policy/policy.ts';

export interface Place {
  destination: string;
  /** Of an upstream of a rule or a split. */
  upstream?: string;
}

export const placeOf = ({ name, upstream }: Destination): Place => ({
  destination: name,
  ...(upstream.name !== undefined && { upstream: upstream.name }),
});

/** The destination with that upstream; undefined where its policy does not name it any more. */
export const destinationAt = (destination: Destination, place: Place): Destination | undefined => {
  const upstream = upstreamsOf(destination).find(({ name }) => name === place.upstream);
  return upstream && { ...destination, upstream };
};
