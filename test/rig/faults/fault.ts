// What every fault is. One file a fault; they compose by taking one another.

export interface Fault {
  /** For the report of a run. */
  name: string;
  /** Makes it go wrong. Resolves when it is in force. */
  inject(): Promise<void>;
  /** Makes it right again; harmless when nothing was injected. Resolves when the road is as it was. */
  clear(): Promise<void>;
}
