// What an answer of the API server that is none means: a fault that somebody must correct, or a server that cannot answer yet. One that
// has just been started says 401 and 403 of what it has not loaded, and 429 and 503 of collections that it still reads.

import { LaybyError, messageOf } from '../../../telemetry/error.ts';

/** So long in a row a 401 or 403 may be that of a server that starts, ms. */
export const STARTING_MS = 45_000;
/** No server is obeyed longer, ms. */
const LONGEST_RETRY_AFTER_MS = 5 * 60_000;
const LONGEST_TEXT = 1024;

/** LAYBY_KUBERNETES_AWAY (no answer), LAYBY_KUBERNETES_NOT_READY (it is starting, or has too much to do) or LAYBY_KUBERNETES_REFUSED. */
export class KubernetesError extends LaybyError {
  override name = 'KubernetesError';
  /** Of HTTP; 0: no answer. */
  readonly status: number;
  /** The server asks not to be asked before, ms. */
  readonly retryAfter: number;

  constructor(
    status: number,
    message: string,
    { remedy = 'it is tried again', code = '', retryAfter = 0, cause }: KubernetesErrorOptions = {},
  ) {
    const byStatus = status === 0 ? 'LAYBY_KUBERNETES_AWAY' : 'LAYBY_KUBERNETES_REFUSED';
    super(code || byStatus, message, { remedy, cause });
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

interface KubernetesErrorOptions {
  remedy?: string;
  code?: string;
  retryAfter?: number;
  cause?: unknown;
}

export const hasStatus = (error: unknown, ...statuses: readonly number[]): boolean =>
  error instanceof KubernetesError && statuses.includes(error.status);

/** For `catch`: an answer of one of these is undefined. */
export const orNone =
  (...statuses: readonly number[]) =>
  (error: unknown): undefined => {
    if (hasStatus(error, ...statuses)) return undefined;
    throw error;
  };

/** What is told of an error after which it goes on. */
export const problemOf = (error: unknown): LaybyError =>
  error instanceof LaybyError ? error : new KubernetesError(0, messageOf(error), { cause: error });

const REMEDIES: Readonly<Record<number, string>> = {
  401: 'see whether the token or certificate is still good',
  403: 'give the service account what docs/kubernetes.md lists',
  404: 'install the custom resources: kubectl apply -f manifests/crds',
};

/** Statuses of a server that will answer: https://kubernetes.io/docs/reference/using-api/ */
const LATER = new Set([429, 500, 502, 503, 504]);
const MAY_BE_STARTING = new Set([401, 403]);

export /** Admission comes after rights: it has a rule against this very request. */
const BY_ADMISSION = /\bdenied (the )?request\b/;

interface Answer {
  status: number;
  text: string;
  /** The header Retry-After. An API server writes seconds; a proxy's date is not read. */
  retryAfter?: string;
  /** How long such a request has had no other answer, ms. */
  lasting?: number;
}

export function refusalOf(
  { status, text, retryAfter: wait = '', lasting = Number.POSITIVE_INFINITY }: Answer,
  starting = STARTING_MS,
): KubernetesError {
  const said = `${status}: ${wordsOf(text).trim().slice(0, LONGEST_TEXT)}`;
  const remedy = REMEDIES[status] ?? 'it is tried again';
  const retryAfter = /^\d+$/.test(wait) ? Math.min(Number(wait) * 1000, LONGEST_RETRY_AFTER_MS) : 0;
  const code = 'LAYBY_KUBERNETES_NOT_READY';
  if (LATER.has(status))
    return new KubernetesError(
      status,
      `the API server is starting or has too much to do, and answers ${said}`,
      {
        ...{ code, retryAfter },
      },
    );
  if (MAY_BE_STARTING.has(status) && lasting < starting && !BY_ADMISSION.test(said))
    return new KubernetesError(status, `the API server may be starting, and answers ${said}`, {
      ...{ code, retryAfter },
      remedy: `it is tried again; where this goes on, ${remedy}`,
    });
  return new KubernetesError(status, `the API server answers ${said}`, { remedy, retryAfter });
}

function wordsOf(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    // A proxy's words are no JSON.
    return text;
  }
}
