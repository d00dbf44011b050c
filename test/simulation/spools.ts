// Spools in memory, on the simulated disk: what spool.ts keeps of a body that is cut through, without its file.

/** `disk`: awaited for each operation. */
export const memorySpools = (disk: (label: string) => Promise<void>) => ({
  begin: () => {
    let pieces: Buffer[] = [];
    let bytes = 0;
    return {
      get bytes() {
        return bytes;
      },
      write: (piece: Buffer): undefined => {
        pieces.push(Buffer.from(piece));
        bytes += piece.length;
      },
      async *read({ start = 0, end = bytes }: { start?: number; end?: number } = {}): AsyncGenerator<Buffer> {
        await disk('spool');
        const whole = Buffer.concat(pieces).subarray(start, end);
        for (let at = 0; at < whole.length; at += 400) yield whole.subarray(at, at + 400);
      },
      close: async (): Promise<void> => {
        pieces = [];
      },
    };
  },
});
