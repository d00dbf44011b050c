// HTTP/1.1 as bytes, for tests of what no library would send: a reader of messages that forgives nothing, a destination that
// records every byte, and an app that writes what it is told.

import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { untilEvent } from './until-event.ts';

export interface Message {
  /** The request line or the status line. */
  start: string;
  /** Lower-case names and values in turn, in their order. */
  headers: string[];
  /** Latin-1, without framing. */
  body: string;
  trailers: string[];
  /** Of the answer that it is: what its start line says. */
  status: number;
}

/** What no HTTP/1.1 sender may put on the wire: the two sides do not mean the same bytes any more. */
export class Desync extends Error {}

const REQUEST_LINE = /^[A-Z-]+ \/[!-~]* HTTP\/1\.1$/;
const STATUS_LINE = /^HTTP\/1\.[01] ([1-5][0-9]{2}) [ -~]*$/;
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*$/;

const fields = (lines: string[]): string[] =>
  lines.flatMap((line) => {
    const field = FIELD.exec(line);
    if (!field) throw new Desync(`not a field: ${JSON.stringify(line)}`);
    return [field[1]!.toLowerCase(), field[2]!];
  });

/** All values of a field. */
export const valuesOf = (headers: readonly string[], name: string): string[] =>
  headers.filter((_, at) => at % 2 === 1 && headers[at - 1] === name);

type Framing = { chunked: true } | { bytes: number };

/** RFC 9112 section 6: one length, or one transfer coding, and never both. */
const framingOf = (headers: string[], start: string): Framing => {
  const lengths = valuesOf(headers, 'content-length');
  const codings = valuesOf(headers, 'transfer-encoding');
  if (lengths.length + codings.length > 1)
    throw new Desync(`more than one framing: ${JSON.stringify({ start, lengths, codings })}`);
  if (codings.length === 1) {
    if (codings[0] !== 'chunked') throw new Desync(`transfer-encoding: ${codings[0]}`);
    return { chunked: true };
  }
  if (lengths.length === 1 && !/^[0-9]{1,16}$/.test(lengths[0]!))
    throw new Desync(`content-length: ${lengths[0]}`);
  return { bytes: Number(lengths[0] ?? 0) };
};

interface Body {
  body: string;
  trailers: string[];
  /** Where the next message begins. */
  end: number;
}

const chunkedBody = (text: string, from: number): Body | undefined => {
  let body = '';
  for (let at = from; ; ) {
    const line = text.indexOf('\r\n', at);
    if (line < 0) return undefined;
    const size = text.slice(at, line);
    if (!/^[0-9a-f]{1,12}$/i.test(size)) throw new Desync(`not a chunk size: ${JSON.stringify(size)}`);
    const bytes = Number.parseInt(size, 16);
    at = line + 2;
    if (bytes === 0) {
      if (text.startsWith('\r\n', at)) return { body, trailers: [], end: at + 2 };
      const end = text.indexOf('\r\n\r\n', at);
      if (end < 0) return undefined;
      return { body, trailers: fields(text.slice(at, end).split('\r\n')), end: end + 4 };
    }
    if (text.length < at + bytes + 2) return undefined;
    body += text.slice(at, at + bytes);
    if (!text.startsWith('\r\n', at + bytes)) throw new Desync('a chunk is longer than its size');
    at += bytes + 2;
  }
};

/** The first message in `text`, and how long it is; undefined while it is not whole. Throws Desync. `bodiless`: the answer
 *  to a HEAD. */
export const readMessage = (
  text: string,
  kind: 'request' | 'answer',
  bodiless = false,
): { message: Message; length: number } | undefined => {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [start, ...lines] = text.slice(0, end).split('\r\n') as [string, ...string[]];
  const line = (kind === 'request' ? REQUEST_LINE : STATUS_LINE).exec(start);
  if (!line) throw new Desync(`not the start of a message: ${JSON.stringify(start.slice(0, 200))}`);
  const headers = fields(lines);
  const status = Number(line[1] ?? 0);
  const framing = framingOf(headers, start);
  const head = end + 4;
  const none = bodiless || (status >= 100 && status < 200) || status === 204 || status === 304;
  let rest: Body | undefined;
  if (none) rest = { body: '', trailers: [], end: head };
  else if ('chunked' in framing) rest = chunkedBody(text, head);
  else if (text.length >= head + framing.bytes)
    rest = { body: text.slice(head, head + framing.bytes), trailers: [], end: head + framing.bytes };
  if (!rest) return undefined;
  const { body, trailers } = rest;
  return { message: { start, headers, body, trailers, status }, length: rest.end };
};

export interface Recorder {
  port: number;
  /** Whole requests, in the order of their last bytes. */
  requests: readonly Message[];
  /** What came that is no request, in words. */
  desyncs: readonly string[];
  /** Requests that began and were never whole. */
  torn: readonly string[];
  /** Resolves when one that `matches` is there. Rejects after `timeout` ms (10,000). */
  until(matches: (request: Message) => boolean, timeout?: number): Promise<Message>;
  close(): void;
}

/** Answers each whole request with 200 and `METHOD PATH` in the body, so that an answer tells whose it is. */
export const startRecorder = async (): Promise<Recorder> => {
  const requests: Message[] = [];
  const desyncs: string[] = [];
  const torn: string[] = [];
  const events = new EventEmitter().setMaxListeners(0);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    let text = '';
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      if (text !== '') torn.push(text);
    });
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
      try {
        for (let found = readMessage(text, 'request'); found; found = readMessage(text, 'request')) {
          text = text.slice(found.length);
          requests.push(found.message);
          events.emit('request', found.message);
          const [method, path] = found.message.start.split(' ');
          const body = `${method} ${path}`;
          socket.write(
            `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${method === 'HEAD' ? '' : body}`,
            'latin1',
          );
        }
      } catch (error) {
        if (!(error instanceof Desync)) throw error;
        desyncs.push(`${error.message} in ${JSON.stringify(text.slice(0, 500))}`);
        text = '';
        socket.destroy();
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    ...{ port: (server.address() as AddressInfo).port, requests, desyncs, torn },
    until: async (matches, timeout = 10_000) =>
      requests.find(matches) ??
      untilEvent<Message>(events, 'request', matches, timeout, () => 'no such request came'),
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
};

export interface Exchange {
  answers: Message[];
  /** The connection ended, or the last answer says that it does. */
  closed: boolean;
  /** Not all of what was expected came in the time given. */
  late: boolean;
}

export interface ExchangeOptions {
  /** Final answers after which nothing more is waited for. */
  answers: number;
  /** ms; default 5,000. */
  patience?: number;
}

/** HOST:PORT, or the path of a Unix socket. */
export const connectTo = (address: string): Socket => {
  if (address.startsWith('/')) return connect(address);
  const [host, port] = address.split(':');
  return connect(Number(port), host);
};

/** Writes the bytes (latin-1; several pieces leave one after the other) on a connection of their own, and reads what is
 *  answered. Never rejects but with Desync: answers that are none. */
export const exchange = async (
  address: string,
  bytes: string | string[],
  { answers: wanted, patience = 5_000 }: ExchangeOptions,
): Promise<Exchange> => {
  const socket = connectTo(address);
  socket.setNoDelay();
  const answers: Message[] = [];
  let text = '';
  try {
    return await new Promise<Exchange>((resolve, reject) => {
      const done = (closed: boolean, late = false) => {
        clearTimeout(timer);
        resolve({ answers, closed, late });
      };
      const timer = setTimeout(() => done(false, true), patience);
      socket.on('error', () => done(true));
      socket.on('close', () => done(true));
      socket.on('end', () => done(true));
      socket.on('data', (piece) => {
        text += piece.toString('latin1');
        try {
          for (let found = readMessage(text, 'answer'); found; found = readMessage(text, 'answer')) {
            text = text.slice(found.length);
            if (found.message.status >= 200) answers.push(found.message);
            if (valuesOf(found.message.headers, 'connection').includes('close')) return done(true);
          }
        } catch (error) {
          return reject(error);
        }
        if (answers.length >= wanted) done(false);
      });
      const pieces = [bytes].flat();
      const next = () => {
        const piece = pieces.shift();
        if (piece !== undefined && !socket.destroyed) socket.write(piece, 'latin1', () => setImmediate(next));
      };
      next();
    });
  } finally {
    socket.destroy();
  }
};
