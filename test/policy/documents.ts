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
