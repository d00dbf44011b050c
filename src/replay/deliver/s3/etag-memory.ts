// Whether an ETag must be the MD5 of the body that was sent. S3 promises that for plain objects only (not with SSE-KMS or SSE-C, not in
// directory buckets), and other servers promise nothing. So it is learnt: once an upstream has given an ETag that was the MD5, a later
// one that is another MD5 means that the body was damaged on its way. Since a server may change, a body is sent again for it twice, and
// then believed.

const MD5 = /^[0-9a-f]{32}$/;
/** Times that one body is sent again for an ETag that differs. */
const DOUBTS = 2;
/** Entries that are remembered; only those that differ are. */
const MOST = 1024;

export interface EtagSeen {
  /** Name of the upstream. */
  upstream: string;
  /** Id of the entry. */
  id: string;
  /** Without quotes. */
  etag: string;
  /** Of the body that was sent, lower-case hex; undefined: it is not known. */
  md5: string | undefined;
  /** The object is encrypted so that its ETag is no MD5. */
  encrypted: boolean;
}

export class EtagMemory {
  readonly #gaveMd5 = new Set<string>();
  readonly #doubts = new Map<string, number>();

  /** false: what arrived is not what was sent, as far as can be known. */
  isCredible({ upstream, id, etag, md5, encrypted }: EtagSeen): boolean {
    if (md5 === undefined || encrypted || !MD5.test(etag)) return true;
    if (etag === md5) {
      this.#gaveMd5.add(upstream);
      this.#doubts.delete(id);
      return true;
    }
    if (!this.#gaveMd5.has(upstream)) return true;
    const doubts = (this.#doubts.get(id) ?? 0) + 1;
    this.#doubts.delete(id);
    if (doubts > DOUBTS) {
      this.#gaveMd5.delete(upstream);
      return true;
    }
    this.#doubts.set(id, doubts);
    if (this.#doubts.size > MOST) this.#doubts.delete(this.#doubts.keys().next().value!);
    return false;
  }
}
