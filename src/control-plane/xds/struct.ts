// google.protobuf.Struct as proto-loader gives it (a map field is a list of its entries there), as a plain object.

interface WireStruct {
  fields?: { key: string; value: WireValue }[];
}

interface WireValue {
  kind?: string;
  [kind: string]: unknown;
}

export function plainStruct(struct: unknown): Record<string, unknown> {
  const { fields = [] } = (struct ?? {}) as WireStruct;
  return Object.fromEntries(fields.map(({ key, value }) => [key, plainValue(value)]));
}

function plainValue(value: WireValue): unknown {
  switch (value.kind) {
    case 'struct_value':
      return plainStruct(value.struct_value);
    case 'list_value':
      return ((value.list_value as { values?: WireValue[] }).values ?? []).map(plainValue);
    case undefined:
    case 'null_value':
      return null;
    default:
      return value[value.kind];
  }
}
