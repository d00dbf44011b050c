// Takes apart a body in S3's own framing (aws-chunked), as it comes, and refuses what is not exactly that:
//
//   hex[;chunk-signature=…]CRLF data CRLF …  0[;chunk-signature=…]CRLF trailers CRLF
//
// Signatures of chunks are not checked: apps sign with keys that Layby does not have. All is signed anew on the way out.

import { refuse } from './answer.ts';

/** A chunk's head is its size and a signature; SigV4A's are the longest, with 144 digits. */
const HEAD_BYTES = 512;
const TRAILER_BYTES = 16 * 1024;
const HEAD = /^([0-9a-f]{1,13})(?:;chunk-signature=[0-9a-f]+\**)?$/i;

type State =
  /** In the line before the data. */
  | 'head'
  | 'data'
  /** In the CRLF behind the data. */
  | 'end'
  /** Behind the chunk of size 0. */
  | 'trailers';

const malformed = () =>
  refuse(400, 'InvalidRequest', 'The body is not framed as its aws-chunked encoding says.');

export class AwsChunked {
  #state: State = 'head';
  /** Of a line, or of the trailers: what has come so far. */
  #text = '';
  /** Bytes of the chunk that are still to come. */
  #left = 0;

  /** The payload in `piece`, without a copy. Throws S3Refused. */
  *take(piece: Buffer): Generator<Buffer> {
    for (let at = 0; at < piece.length; ) {
      if (this.#state === 'data') {
        const payload = piece.subarray(at, at + this.#left);
        at += payload.length;
        this.#left -= payload.length;
        if (this.#left === 0) this.#state = 'end';
        yield payload;
      } else if (this.#state === 'trailers') {
        this.#text += piece.toString('latin1', at);
        if (this.#text.length > TRAILER_BYTES) throw malformed();
        at = piece.length;
      } else {
        at = this.#line(piece, at);
      }
    }
  }

  /** Takes up to the end of a line; returns where it ended. */
  #line(piece: Buffer, from: number): number {
    const newline = piece.indexOf(10, from);
    const to = newline < 0 ? piece.length : newline + 1;
    if (this.#text.length + to - from > HEAD_BYTES) throw malformed();
    this.#text += piece.toString('latin1', from, to);
    if (newline < 0) return to;
    const line = this.#text;
    this.#text = '';
    if (!line.endsWith('\r\n')) throw malformed();
    if (this.#state === 'end') {
      if (line !== '\r\n') throw malformed();
      this.#state = 'head';
      return to;
    }
    const size = HEAD.exec(line.slice(0, -2))?.[1];
    if (size === undefined) throw malformed();
    this.#left = Number.parseInt(size, 16);
    this.#state = this.#left === 0 ? 'trailers' : 'data';
    return to;
  }

  /** The body is at its end: its trailers by lower-case name. Throws S3Refused. */
  end(): Map<string, string> {
    if (this.#state !== 'trailers')
      throw refuse(400, 'IncompleteBody', 'The body ended before its last chunk.');
    const trailers = new Map<string, string>();
    // minio-go ends each trailer with a bare line feed, and puts an empty line before the signature.
    const lines = this.#text.split(/\r?\n/);
    if (lines.pop() !== '' || lines.length === 0) throw malformedTrailer();
    for (const line of lines) {
      if (line === '') continue;
      const [, name, value] = /^([A-Za-z0-9-]+):[ \t]*([^\r]*?)[ \t]*$/.exec(line) ?? [];
      if (name === undefined || value === undefined) throw malformedTrailer();
      trailers.set(name.toLowerCase(), value);
    }
    return trailers;
  }
}

export const malformedTrailer = () =>
  refuse(400, 'MalformedTrailerError', 'The trailers of the body are not those that were announced.');
