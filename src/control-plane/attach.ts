// layby.v1.Edge: the stream between the control plane and the queue of the edge node. Here only transport.

import type * as grpc from '@grpc/grpc-js';
import type { EdgeState, QueueReport } from '../wire/edge-service.ts';
import type { Edge } from './edge.ts';
import { notThat, peerId } from './server/peer.ts';

/** `queueId`: whom a queue on another machine must prove to be. */
export function edgeHandlers(edge: Edge, queueId: string): grpc.UntypedServiceImplementation {
  return {
    Attach: ((call: grpc.ServerDuplexStream<QueueReport, EdgeState>) => {
      const other = notThat(peerId(call), queueId);
      if (other) {
        call.emit('error', other);
        return;
      }
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
