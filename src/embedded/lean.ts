// How the Node processes of the mesh are started, so that they keep little memory that is free already. Tests and benchmarks that
// measure such a process start it the same way.

/** V8's young generation and glibc's arenas each keep tens of MiB that are free already: with 32 bodies of 64 MiB side by side
 *  the queue grew by 97 MiB so, and by 148 without (test/e2e/memory.test.ts). V8 lets garbage double the old generation before it
 *  looks, or quadruple it where the heap may have GiB; none of these processes needs a quarter of 256 MiB, and with 256 bodies in
 *  flight that saves 25. A young generation of 2 MiB would save 8 more, and cost a fifth of the CPU of each small receipt.
 *
 *  glibc raises its mmap threshold to the size of each large block that is freed, up to 32 MiB. LevelDB's batches and blocks then lie between
 *  small ones that live for long, and the queue had 45 MB more after 24,000 requests. A fixed threshold keeps them apart.
 *  With 256 KiB, a chunk of a body, large bodies would cost a quarter more CPU, and a stream to S3 three times the memory (docs/performance.md). */
export const LEAN = {
  flags: ['--max-semi-space-size=8', '--max-old-space-size=256'],
  env: { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '1048576', MALLOC_TRIM_THRESHOLD_: '1048576' },
};
