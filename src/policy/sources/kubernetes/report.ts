// What a control plane tells its cluster: one small object of its own, kind Report, called as its node. Vehicles write these and read none;
// the cluster's part makes the status of the policy objects of all of them.

/** Of the kind Report, beside the policy's in layby.dev/v1alpha1; namespaced, in the namespace that Layby is installed in. */
export const REPORT_KIND = 'Report';
export const REPORT_PLURAL = 'reports';

/** What it says of one policy object. Left out is what is 0, or nothing. */
export interface ObjectReport {
  /** Destination, Service or Mesh */
  kind: string;
  namespace: string;
  name: string;
  /** Of another object that had this name before, nothing is said. */
  uid: string;
  /** The generation that it has judged last. */
  observedGeneration: number;
  accepted: boolean;
  /** What is wrong with it, in the words of `layby policy check`. */
  message?: string;
  /** Connected to this control plane. */
  sidecars?: number;
  /** Of them, those that have all of the policy. */
  programmed?: number;
  /** Which sidecar has refused something of it, and its words. */
  nack?: string;
  /** Why Services of the cluster that it names have no endpoints. */
  unresolved?: string;
  /** Stored for it there. */
  entries?: number;
  /** Of them, dead letters. */
  dead?: number;
}

/** Entries whose destination the policy has no more. */
export interface OrphanReport {
  destination: string;
  entries: number;
}

/** Objects of one kind that the cluster has lost and that stay in force on the node. */
export interface HeldKind {
  /** Destination, Service or Mesh */
  kind: string;
  count: number;
  /** The first few of them; none of a Mesh. */
  names?: string[];
}

/** Deletions that the node does not follow until somebody accepts them. */
export interface HeldReport {
  count: number;
  kinds: HeldKind[];
}

export interface Report {
  metadata: { namespace: string; name: string; uid: string; resourceVersion: string };
  /** Of Layby. */
  version: string;
  /** When this was so, RFC 3339. It is written when something changes, not by the clock. */
  observedTime: string;
  /** Whether the queue of the node does its work; false: it does not answer. */
  queue: boolean;
  objects: ObjectReport[];
  orphans?: OrphanReport[];
  held?: HeldReport;
  /** How many of the objects and orphans there was no room for: of them nothing is said. */
  omitted?: number;
  /** For an authority of this node (PKCS #10, PEM). */
  certificateRequest?: string;
  status?: ReportStatus;
}

/** Written by the cluster part alone. */
export interface ReportStatus {
  /** The authority of this node, below one of the roots, PEM. */
  certificate?: string;
  /** All that the mesh trusts, PEM, without keys. */
  roots?: string[];
  /** Why there is no certificate by the newest root. */
  problem?: string;
}
