// A service of the vehicle: an app that others call through the mesh, from sidecar to sidecar. Nothing of it is stored.

import Type, { type Static } from 'typebox';
import { apiVersion, hosts, metadata, nodeName, oneOf, SEGMENT } from './forms.ts';

export const SERVICE_KIND = 'Service';

export const ServiceSchema = Type.Object({
  apiVersion: apiVersion(),
  kind: oneOf([SERVICE_KIND], 'The kind of this document.'),
  metadata: metadata('Names the service in logs and in what Envoy counts. No destination may have the same.'),
  spec: Type.Object(
    {
      hosts: hosts('What apps call, without port, as of a destination. No two documents may claim the same.'),
      node: nodeName('The node id of the sidecar that stands beside the app.'),
      address: Type.String({
        title: 'HOST:PORT, like 10.0.0.2:15008',
        pattern: '^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+):[0-9]{1,5}$',
        maxLength: 263,
        description:
          'Where that sidecar takes calls of the others, over TLS on both sides; no other service of its may have the same. Where it is a name, the sidecar listens at all IPv4 addresses of its machine. In a cluster NAME.NAMESPACE.svc:PORT is each pod behind that Service of Kubernetes.',
      }),
      app: Type.String({
        title: 'HOST:PORT, like 127.0.0.1:8080',
        pattern: '^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+):[0-9]{1,5}$',
        maxLength: 263,
        description: 'Where the app listens, as that sidecar reaches it; without TLS.',
      }),
      protocol: Type.Optional(
        oneOf(
          ['http1', 'http2'],
          'What the app speaks: HTTP/1.1, or HTTP/2, which gRPC needs. The sidecars speak it to one another too.',
          'http1',
        ),
      ),
      tunnel: Type.Optional(
        oneOf(
          ['deny', 'allow'],
          'Whether callers may send bytes to the app, whatever they are, by CONNECT to the port of `app`. Who may call is who may do that.',
          'deny',
        ),
      ),
      allow: Type.Array(
        Type.String({
          title: 'a node id, or a SPIFFE id',
          pattern: `^(${SEGMENT}|spiffe://[a-z0-9._-]+(/${SEGMENT})+)$`,
          maxLength: 2048,
        }),
        {
          minItems: 1,
          maxItems: 1024,
          description:
            'Who may call: node ids of sidecars, or SPIFFE ids. Nobody else may; who it is, its certificate says.',
        },
      ),
    },
    { description: 'Where it is, and who may call it.' },
  ),
});

/** A document as an operator wrote it. */
export type ServiceDocument = Static<typeof ServiceSchema>;
