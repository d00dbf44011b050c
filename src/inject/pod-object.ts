// A pod as its manifest says it.

/** What is read and written of a container; the rest passes as it is. */
export interface Container {
  name: string;
  env?: { name: string; value?: string; valueFrom?: object }[];
  securityContext?: { runAsUser?: number } & Record<string, unknown>;
  restartPolicy?: string;
  [more: string]: unknown;
}

export interface Metadata {
  name?: string;
  namespace?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  [more: string]: unknown;
}

export interface PodSpec {
  containers?: Container[];
  initContainers?: Container[];
  volumes?: { name: string; [more: string]: unknown }[];
  imagePullSecrets?: { name?: string }[];
  hostAliases?: { ip: string; hostnames: string[] }[];
  hostNetwork?: boolean;
  os?: { name?: string };
  nodeSelector?: Record<string, string>;
  serviceAccountName?: string;
  securityContext?: { runAsUser?: number } & Record<string, unknown>;
  [more: string]: unknown;
}

/** A Pod, or the template of one. */
export interface Pod {
  metadata?: Metadata;
  spec?: PodSpec;
  [more: string]: unknown;
}
