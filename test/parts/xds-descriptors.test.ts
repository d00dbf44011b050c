import { join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import t from 'tap';
import { trim } from '../../src/parts/descriptor-closure.ts';
import { findXdsDescriptors } from '../../src/parts/xds-descriptors.ts';
import { testdir } from '../rig/testdir.ts';
import { offlineEnv, tinyPart } from './fixtures/wheel.ts';

const none = join(t.testdirName, 'none');

t.test('the descriptors are complete, in the order of imports, v3 only, with JSON names', async (t) => {
  const set = fromBinary(FileDescriptorSetSchema, await findXdsDescriptors({ packaged: none }));
  const seen = new Set<string>();
  for (const file of set.file) {
    for (const dependency of file.dependency) {
      if (!seen.has(dependency)) t.fail(`${file.name} stands before ${dependency}`);
    }
    seen.add(file.name);
  }
  for (const name of [
    'envoy/service/discovery/v3/ads.proto',
    'envoy/service/status/v3/csds.proto',
    'envoy/extensions/clusters/aggregate/v3/cluster.proto',
    'envoy/extensions/filters/http/aws_request_signing/v3/aws_request_signing.proto',
    'envoy/extensions/transport_sockets/tls/v3/secret.proto',
    'google/protobuf/any.proto',
  ]) {
    t.ok(seen.has(name), name);
  }
  t.notOk([...seen].some((name) => /envoy\/api\/v2|v2alpha|conformance/.test(name)));
  t.ok(seen.size > 450 && seen.size < 550, `${seen.size} files`);
  const ads = set.file.find((file) => file.name === 'envoy/service/discovery/v3/discovery.proto');
  const request = ads?.messageType.find((message) => message.name === 'DiscoveryRequest');
  t.equal(request?.field.find((field) => field.name === 'version_info')?.jsonName, 'versionInfo');
});

t.test('a set that the operator names comes first, then the packaged one', async (t) => {
  const directory = testdir(t, { named: 'named', packaged: 'packaged' });
  const packaged = join(directory, 'packaged');
  const named = (file: string) => ({ ...process.env, LAYBY_XDS_DESCRIPTORS: join(directory, file) });
  t.equal(String(await findXdsDescriptors({ packaged, env: named('named') })), 'named');
  t.equal(String(await findXdsDescriptors({ packaged })), 'packaged');
  const missing = findXdsDescriptors({ packaged, env: named('none') });
  await t.rejects(missing, { code: 'LAYBY_XDS_NOT_FOUND', message: /LAYBY_XDS_DESCRIPTORS names/ });
});

t.test('a descriptor that nobody brought is named', async (t) => {
  const file = [{ name: 'xds/a.proto', dependency: ['xds/b.proto'] }];
  const set = toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file }));
  t.throws(() => trim(set), {
    code: 'LAYBY_XDS_INVALID',
    message: /lack xds\/b\.proto, which xds\/a\.proto imports/,
  });
});

t.test('a wheel without descriptors is refused, not taken for an empty set', async (t) => {
  const directory = testdir(t, { wheels: {}, cache: {} });
  const wheels = join(directory, 'wheels');
  const tiny = tinyPart(wheels);
  const part = { ...tiny, wheels: { any: tiny.wheels['linux-x64-glibc']! } };
  const found = findXdsDescriptors({
    packaged: none,
    env: offlineEnv(wheels, join(directory, 'cache')),
    part,
  });
  await t.rejects(found, { code: 'LAYBY_XDS_INVALID', message: /layby-tiny.*no xDS descriptors/ });
});
