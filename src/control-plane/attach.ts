// layby.v1.Edge: the stream between the control plane and the queue of the edge node. Here only transport.

import type * as grpc from '@grpc/grpc-js';
import type { EdgeState, QueueReport } from '../wire/edge-service.ts';
import type { Edge } from './edge.ts';

export function edgeHandlers(edge: Edge): grpc.UntypedServiceImplementation {
  return {
    Attach: ((call: grpc.ServerDuplexStream<QueueReport, EdgeState>) => {
      const { report, detach } = edge.attach((state) => call.write(state));
      call.on('data', report);
      call.on('end', () => {
        detach();
        call.end();
      });
      call.on('error', detach);
      call.on('cancelled', detach);
    }) as grpc.UntypedHandleCall,
  };
}
