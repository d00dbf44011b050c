import t from 'tap';
import { table } from '../../src/cli/table.ts';
import { oneLine } from '../../src/telemetry/one-line.ts';

t.test(
  'what others have written is shown on one line, without control characters, and shortened',
  async (t) => {
    t.equal(
      oneLine('<?xml version="1.0"?>\r\n  <Error>\n\t<Code>NotImplemented</Code>\n</Error>\n'),
      '<?xml version="1.0"?> <Error> <Code>NotImplemented</Code> </Error>',
    );
    t.equal(oneLine('\u001b[2Jgone\u0007\u202e\u2028x\u0085y'), '[2Jgone x y');
    t.equal(oneLine(''), '');
    t.equal(oneLine('a'.repeat(300)), 'a'.repeat(300));
    t.equal(oneLine('a'.repeat(301)), `${'a'.repeat(299)}…`);
    t.equal(oneLine(`${'a'.repeat(298)}😀b`), `${'a'.repeat(298)}\ufffd…`);
    t.equal(oneLine(' \n'.repeat(2_000_000)), '');
    t.equal(oneLine('a\nb', Number.POSITIVE_INFINITY), 'a b');
  },
);

t.test('a table has one line for each row, whatever a cell holds', async (t) => {
  const text = table(['ID', 'LAST ERROR'], [['1', 'line one\nline two\u001b[31m']]);
  t.equal(text, 'ID  LAST ERROR\n1   line one line two [31m');
});
