// A MicroTime, as Leases and Events of Kubernetes have it.

/** Now, RFC 3339 with six decimals. */
export const microTime = (): string => new Date().toISOString().replace(/Z$/, '000Z');
