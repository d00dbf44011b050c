// Short ways to write policy documents for tests.

export interface Wanted {
  name?: string;
  hosts?: string[];
  /** Written below `spec`, in YAML. */
  more?: string;
}

/** One right document on eleven lines or less; each part of it stands at the same line every time. */
export const destination = ({ name = 'dashcam', hosts = ['dashcam.example'], more = '' }: Wanted = {}) =>
  [
    'apiVersion: layby.dev/v1alpha1',
    'kind: Destination',
    `metadata: {name: ${name}}`,
    'spec:',
    `  hosts: ${JSON.stringify(hosts)}`,
    '  upstream: {url: https://cloud.example}',
    ...(more ? [more.replaceAll(/^/gm, '  ')] : []),
    '',
  ].join('\n');

/** A right document of kind Service; `more` goes into its spec. */
export const service = (name: string, more: object = {}) =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Service',
    metadata: { name },
    spec: {
      hosts: [`${name}.vehicle`],
      node: 'ecu',
      address: '10.0.0.2:15008',
      app: '127.0.0.1:8080',
      allow: ['camera'],
      ...more,
    },
  });
