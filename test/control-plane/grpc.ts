// Servers and clients of gRPC that find each other by xDS, without a sidecar.

import * as grpc from '@grpc/grpc-js';
import type { Test } from 'tap';

const same = (bytes: Buffer) => bytes;
const ECHO = {
  Echo: {
    path: '/test.Echo/Echo',
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
} as const;

/** A server that says which one it is; its port on 127.0.0.1. */
export async function backend(t: Test, name: string): Promise<number> {
  const server = new grpc.Server();
  server.addService(ECHO, {
    Echo: ((_call, callback) => callback(null, Buffer.from(name))) as grpc.handleUnaryCall<Buffer, Buffer>,
  });
  t.teardown(() => server.forceShutdown());
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
}

export interface XdsClients {
  /** Calls whatever `xds:///TARGET` is. */
  connect(target: string, ms?: number): () => Promise<string>;
  /** Before the control plane ends: one that has lost it tries for it as long as the process lives. */
  close(): void;
}

/** Of this control plane. The library reads where it is when it is loaded, so there is one for a process. */
export async function xdsClients(xds: { host: string; port: number }): Promise<XdsClients> {
  process.env.GRPC_XDS_BOOTSTRAP_CONFIG = JSON.stringify({
    xds_servers: [
      {
        server_uri: `${xds.host}:${xds.port}`,
        channel_creds: [{ type: 'insecure' }],
        server_features: ['xds_v3'],
      },
    ],
    // The library wants a locality, if an empty one.
    node: { id: 'grpc-1', locality: {} },
  });
  const { register } = await import('@grpc/grpc-js-xds');
  register();
  const Echo = grpc.makeGenericClientConstructor(ECHO, 'Echo');
  const clients: grpc.Client[] = [];
  return {
    connect(target, ms = 10_000) {
      const client = new Echo(`xds:///${target}`, grpc.credentials.createInsecure());
      clients.push(client);
      return () =>
        new Promise((resolve, reject) => {
          client.Echo!(
            Buffer.alloc(0),
            { deadline: Date.now() + ms },
            (error: Error | null, answer: Buffer) => (error ? reject(error) : resolve(answer.toString())),
          );
        });
    },
    close() {
      for (const client of clients) client.close();
    },
  };
}
