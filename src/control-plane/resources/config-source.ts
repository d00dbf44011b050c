// How a sidecar asks for what its resources name: on the stream that it has, or on others to the same control plane.

export type Discovery = 'aggregated' | 'separate' | 'separate-delta';

/** The cluster of the control plane in a sidecar's bootstrap. No destination's is named like it; and it is the authority of the calls there. */
export const CONTROL_PLANE_CLUSTER = 'layby.control-plane';

export const configSource = (discovery: Discovery) =>
  discovery === 'aggregated'
    ? { ads: {}, resource_api_version: 'V3' }
    : {
        api_config_source: {
          api_type: discovery === 'separate' ? 'GRPC' : 'DELTA_GRPC',
          transport_api_version: 'V3',
          set_node_on_first_message_only: true,
          grpc_services: [
            {
              envoy_grpc: {
                cluster_name: CONTROL_PLANE_CLUSTER,
                retry_policy: { retry_back_off: { base_interval: '0.2s', max_interval: '1s' } },
              },
            },
          ],
        },
        resource_api_version: 'V3',
      };
