// A destination that speaks no HTTP library: it keeps the bytes of each request as they came over the wire.

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';

export interface RawDestination {
  port: number;
  /** The next request that arrives, whole: head and body as sent, latin1. */
  next(): Promise<string>;
  close(): void;
}

/** How long the first request in `text` is; undefined while it is not whole. */
const lengthOf = (text: string): number | undefined => {
  const head = text.indexOf('\r\n\r\n') + 4;
  if (head < 4) return undefined;
  if (/\r\ntransfer-encoding: chunked\r\n/i.test(text.slice(0, head))) {
    const end = /(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n/.exec(text.slice(head));
    return end ? head + end.index + end[0].length : undefined;
  }
  const length = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(text.slice(0, head))?.[1] ?? 0);
  return text.length >= head + length ? head + length : undefined;
};

/** Answers every request with `answer`. */
export const rawDestination = async (answer: string): Promise<RawDestination> => {
  const requests: string[] = [];
  let wake: (() => void) | undefined;
  const server = createServer((socket) => {
    let text = '';
    socket.on('error', () => {});
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
      for (let length = lengthOf(text); length !== undefined; length = lengthOf(text)) {
        requests.push(text.slice(0, length));
        text = text.slice(length);
        socket.write(answer);
        wake?.();
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async next() {
      while (requests.length === 0)
        await new Promise<void>((done) => {
          wake = done;
        });
      return requests.shift()!;
    },
    close: () => server.close(),
  };
};

/** Sends the bytes, and gives what came back until the other side closed. */
export const rawCall = async (address: string, request: string): Promise<string> => {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  let answer = '';
  socket.on('data', (piece) => {
    answer += piece.toString('latin1');
  });
  socket.write(request, 'latin1');
  await once(socket, 'close');
  return answer;
};
