// An informational answer with any status and headers: node:http itself writes only 100, 102 and 103.

import type { ServerResponse } from 'node:http';

/** Before the head of the answer. `headers`: names and values in turn. */
export const writeInterim = (response: ServerResponse, status: number, headers: readonly string[]): void => {
  const lines = [`HTTP/1.1 ${status} Interim`];
  for (let at = 0; at < headers.length; at += 2) lines.push(`${headers[at]}: ${headers[at + 1]}`);
  response.socket?.write(`${lines.join('\r\n')}\r\n\r\n`);
};
