// A server of the IETF's resumable uploads (draft-ietf-httpbis-resumable-upload-12, interop version 8). It is our own, written from the
// draft beside the client: no server of that version could be had from a registry, so a misreading that both share is not seen here.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { writeInterim } from './interim.ts';

const VERSION = ['Upload-Draft-Interop-Version', '8'];
const PARTIAL = 'application/partial-upload';
const PROGRESS_BYTES = 4 * 1024 * 1024;

export interface Upload {
  /** Of the request that began it. */
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  pieces: Buffer[];
  offset: number;
  length?: number;
  complete: boolean;
  /** The request that appends to it now. */
  appending?: IncomingMessage;
}

export interface IetfServer {
  url: string;
  /** By path; one that was cancelled is gone. */
  uploads: Map<string, Upload>;
  /** Whole representations, as the resource that was called got them; of requests that were no uploads too. */
  received: { method: string; path: string; headers: IncomingMessage['headers']; body: Buffer }[];
  close(): void;
}

export interface IetfServerOptions {
  /** Says 104; default true. */
  interim?: boolean;
  /** Speaks it at all; default true. */
  speaks?: boolean;
  /** Upload-Limit: max-append-size, bytes. */
  maxAppend?: number;
  /** What the resource makes of a whole representation; default 200. */
  status?: () => number;
  /** Where it listens; default: any free port of 127.0.0.1. */
  listen?: { host: string; port: number };
  /** Called with each whole representation. */
  onReceived?: (body: Buffer) => void;
}

export const startIetfServer = async (options: IetfServerOptions = {}): Promise<IetfServer> => {
  const { interim = true, speaks = true, maxAppend, status = () => 200 } = options;
  const { listen: at = { host: '127.0.0.1', port: 0 }, onReceived } = options;
  const uploads = new Map<string, Upload>();
  const received: IetfServer['received'] = [];
  let count = 0;
  const limits =
    maxAppend === undefined ? [] : ['Upload-Limit', `max-size=1000000000, max-append-size=${maxAppend}`];

  const process = (
    response: ServerResponse,
    upload: Omit<Upload, 'offset' | 'complete'>,
    said: string[],
  ): void => {
    const { method, path, headers, pieces } = upload;
    const code = status();
    if (code < 300) {
      const body = Buffer.concat(pieces);
      received.push({ method, path, headers, body });
      onReceived?.(body);
    }
    response.writeHead(code, said).end();
  };

  /** Resolves when the request has ended whole; what came before a cut stays. */
  const append = async (
    upload: Upload,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<boolean> => {
    upload.appending = request;
    let told = upload.offset;
    try {
      for await (const piece of request as AsyncIterable<Buffer>) {
        upload.pieces.push(piece);
        upload.offset += piece.length;
        if (interim && upload.offset - told >= PROGRESS_BYTES) {
          told = upload.offset;
          writeInterim(response, 104, [...VERSION, 'Upload-Offset', String(told)]);
        }
      }
      return true;
    } catch {
      return false;
    } finally {
      delete upload.appending;
    }
  };

  const ended = async (upload: Upload, request: IncomingMessage, response: ServerResponse, place: string) => {
    const whole = request.headers['upload-complete'] === '?1';
    const size = Number(request.headers['content-length'] ?? 0);
    if (maxAppend !== undefined && size > maxAppend) {
      await once(request.resume(), 'end');
      response.writeHead(413, limits).end();
      return;
    }
    if (!(await append(upload, request, response))) return;
    if (whole && (upload.length === undefined || upload.offset === upload.length)) {
      upload.complete = true;
      process(response, upload, ['Upload-Complete', '?1']);
      return;
    }
    const created = request.method === 'PATCH' && upload.path !== request.url ? 204 : 201;
    response.writeHead(created, ['Upload-Complete', '?0', 'Location', place, ...limits]).end();
  };

  const onUpload = async (
    place: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> => {
    const upload = uploads.get(place);
    if (!upload) {
      request.resume();
      response.writeHead(404).end();
      return;
    }
    if (upload.appending) {
      upload.appending.destroy();
      await once(upload.appending, 'close');
    }
    const offset = ['Upload-Offset', String(upload.offset)];
    if (request.method === 'HEAD') {
      const length = upload.length === undefined ? [] : ['Upload-Length', String(upload.length)];
      const complete = ['Upload-Complete', upload.complete ? '?1' : '?0'];
      response
        .writeHead(204, [...offset, ...length, ...complete, ...limits, 'Cache-Control', 'no-store'])
        .end();
    } else if (request.method === 'DELETE') {
      uploads.delete(place);
      response.writeHead(204).end();
    } else if (request.method !== 'PATCH' || request.headers['content-type'] !== PARTIAL) {
      request.resume();
      response.writeHead(415).end();
    } else if (upload.complete || request.headers['upload-offset'] !== String(upload.offset)) {
      request.resume();
      response.writeHead(upload.complete ? 400 : 409, offset).end();
    } else await ended(upload, request, response, place);
  };

  const onResource = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = '', url: path = '', headers } = request;
    if (method === 'OPTIONS') {
      response.writeHead(204, speaks ? ['Accept-Patch', PARTIAL, ...limits] : []).end();
      return;
    }
    const upload: Upload = { method, path, headers, pieces: [], offset: 0, complete: false };
    if (!speaks || headers['upload-complete'] === undefined) {
      if (await append(upload, request, response)) process(response, upload, []);
      return;
    }
    if (headers['upload-length'] !== undefined) upload.length = Number(headers['upload-length']);
    count += 1;
    const place = `/uploads/${count}`;
    uploads.set(place, upload);
    if (interim && headers['upload-draft-interop-version'] === VERSION[1])
      writeInterim(response, 104, [...VERSION, 'Location', place, ...limits]);
    await ended(upload, request, response, place);
  };

  const server = createServer((request, response) => {
    const { url = '' } = request;
    response.on('error', () => {});
    void (url.startsWith('/uploads/') ? onUpload(url, request, response) : onResource(request, response));
  });
  server.requestTimeout = 0;
  server.listen(at.port, at.host);
  await once(server, 'listening');
  return {
    url: `http://${at.host}:${(server.address() as AddressInfo).port}`,
    ...{ uploads, received },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
};
