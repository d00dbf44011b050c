// The gRPC service of proto/layby/v1/edge.proto, for both of its ends.

import { fileURLToPath } from 'node:url';
import type { ServiceDefinition } from '@grpc/grpc-js';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/** layby.v1.Lane; 64-bit numbers as numbers. */
export interface Lane {
  destination: string;
  entries: number;
  bytes: number;
  dead: number;
  staged: number;
  quarantined: number;
  oldest: number;
  pending: boolean;
  failing: boolean;
  generation: number;
  reached: number;
  /** Lanes with older entries for hosts of this destination. */
  former: string[];
}

/** Entries in whatever state. */
export const storedIn = ({
  entries,
  dead,
  staged,
  quarantined,
}: Pick<Lane, 'entries' | 'dead' | 'staged' | 'quarantined'>): number =>
  entries + dead + staged + quarantined;

/** layby.v1.DestinationState */
export interface DestinationState {
  destination: string;
  link_up: boolean;
  link_by: string;
  in_force: number;
  link_since: number;
  link_slow: boolean;
}

/** layby.v1.Network */
export interface NetworkMessage {
  /** '': nobody knows. */
  kind: string;
  interface: string;
  metered: boolean;
  roaming: boolean;
}

/** layby.v1.EdgeState */
export interface EdgeState {
  policy?: { version: string; json: string };
  destinations: DestinationState[];
  network?: NetworkMessage | null;
}

/** layby.v1.QueueReport */
export interface QueueReport {
  pid: number;
  policy_version: string;
  lanes: Lane[];
}

/** What the queue's admin listener tells the control plane's, as JSON. */
export interface QueueStatus {
  lanes: Lane[];
  /** Copies of damaged files, and their bytes. */
  setAside: { copies: number; bytes: number };
  /** Absent where the queue is of an earlier version. */
  refused?: RefusedView[];
}

/** What a destination refuses again and again. */
export interface RefusedView {
  destination: string;
  /** How many, and how many wait behind them with their order keys. */
  entries: number;
  behind: number;
  /** Nothing else waits. */
  alone: boolean;
  /** Some of them, the oldest first. `since`: of the first refusal beside a success of others, ISO 8601; null: nothing else was taken. */
  oldest: { id: string; request: string; tries: number; since: string | null; lastError: string | null }[];
}

/** 64-bit fields are counts and milliseconds, far below 2^53: numbers. */
const OPTIONS = { keepCase: true, longs: Number, defaults: true, oneofs: true };

const definition = loadSync(
  fileURLToPath(new URL('../../proto/layby/v1/edge.proto', import.meta.url)),
  OPTIONS,
);

const root = grpc.loadPackageDefinition(definition) as unknown as {
  layby: { v1: { Edge: grpc.ServiceClientConstructor } };
};

export const EdgeClient = root.layby.v1.Edge;
export const edgeService: ServiceDefinition = EdgeClient.service;
