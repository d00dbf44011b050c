// An admin listener, of the control plane or of the queue. Whoever can open its address may ask it, and a web browser of this machine can: so it
// refuses what a page of another site makes a browser send. Three rules, each enough against one kind of page:
//
//   Host             a page whose name leads here (DNS rebinding) is read by its browser as its own site. Its name is no name of the listener
//   Origin, Sec-Fetch-Site   browsers say by these that another site asks
//   Content-Type     a form cannot send application/json, and a script of another site has to ask before (CORS), which is refused
//
// A request that bears the token needs no known Host, since no page has the token.

import { hash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { LaybyError } from '../telemetry/error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Address } from './address.ts';
import { answering, type RequestTarget, targetOf } from './http-server.ts';

export interface AdminServerOptions {
  /** Where it listens: a name in it is one of its own. */
  address: Address;
  /** Other names that it is called by. */
  hosts?: readonly string[] | undefined;
  /** What a request must bear, `open` paths apart. */
  token?: string | undefined;
  /** Paths that want no token. */
  open?: readonly string[];
  log: Logger;
}

export interface AdminRequest extends RequestTarget {
  request: IncomingMessage;
  response: ServerResponse;
  /** `GET /v1/status` */
  route: string;
}

/** The name of a Unix socket in the Host header of Layby's own clients (`poolTo`). */
const SOCKET_HOST = 'layby';

/** `answer` rejects with what is to be said: a LaybyError by its code (http-server.ts), anything else as LAYBY_INTERNAL. */
export function adminServer(
  options: AdminServerOptions,
  answer: (asked: AdminRequest) => Promise<void>,
): Server {
  const { address, hosts = [], log } = options;
  const names = new Set(
    ['localhost', SOCKET_HOST, ...hosts, ...('host' in address ? [address.host] : [])].map((name) =>
      name.toLowerCase(),
    ),
  );
  return createServer(
    answering(
      (request, response) => {
        // What apps sent is among the answers: no browser guesses that it is a page or a script.
        response.setHeader('x-content-type-options', 'nosniff');
        const target = targetOf(request);
        admit(request, target, names, options, response);
        return answer({ ...target, request, response, route: `${request.method} ${target.path}` });
      },
      (err, { code }) => {
        if (code === 'LAYBY_INTERNAL') log.error({ err }, 'admin request failed');
      },
    ),
  );
}

/** Errors: LAYBY_ADMIN_HOST_REFUSED, LAYBY_ADMIN_SITE_REFUSED, LAYBY_ADMIN_REFUSED, LAYBY_ADMIN_TYPE_REFUSED. */
function admit(
  request: IncomingMessage,
  { authority = request.headers.host, path, search }: RequestTarget,
  names: ReadonlySet<string>,
  { token, open = [] }: AdminServerOptions,
  response: ServerResponse,
): void {
  const trusted = token !== undefined && bears(request, token);
  // HTTP/1.0 may leave it out; no browser does.
  if (!trusted && authority !== undefined && !isOwnHost(authority, names))
    throw new LaybyError('LAYBY_ADMIN_HOST_REFUSED', `${authority} is no name of this admin listener`, {
      remedy: 'call it by its address or as localhost, or start it with --admin-host NAME',
    });
  const { origin, 'sec-fetch-site': site = 'none' } = request.headers;
  const isOwnOrigin = origin === undefined || (/^https?:\/\/(.*)$/.exec(origin)?.[1] ?? '') === authority;
  if (!isOwnOrigin || !['none', 'same-origin'].includes(String(site)))
    throw new LaybyError('LAYBY_ADMIN_SITE_REFUSED', `a web page of ${origin ?? 'another site'} asks`, {
      remedy: 'ask with `layby`, or with a program that sends no Origin and no Sec-Fetch-Site',
    });
  if (token !== undefined && !trusted && !open.includes(path + search)) {
    response.setHeader('www-authenticate', 'Bearer');
    throw new LaybyError('LAYBY_ADMIN_REFUSED', 'the admin listener wants its token', {
      remedy: 'name the file that has it in LAYBY_ADMIN_TOKEN_FILE',
    });
  }
  const { method, headers } = request;
  if (method !== 'GET' && method !== 'HEAD' && !isJson(headers['content-type']))
    throw new LaybyError('LAYBY_ADMIN_TYPE_REFUSED', `a ${method} must be application/json`, {
      remedy: 'send the header "content-type: application/json", also where there is no body',
    });
}

/** Addresses, and names that no page of another site can have. */
function isOwnHost(authority: string, names: ReadonlySet<string>): boolean {
  const [, bracketed, name = ''] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(authority) ?? [];
  return isIP(bracketed ?? name) !== 0 || names.has(name.toLowerCase().replace(/\.$/, ''));
}

/** The media type alone: in `text/plain; application/json` a form may send it. */
const isJson = (type: string | undefined): boolean =>
  type !== undefined && type.split(';', 1)[0]!.trim().toLowerCase() === 'application/json';

const digest = (text: string): Buffer => hash('sha256', text, 'buffer');

const bears = ({ headers }: IncomingMessage, token: string): boolean =>
  timingSafeEqual(digest(headers.authorization ?? ''), digest(`Bearer ${token}`));
