// The loop of every load: each client sends its next request when the last one is answered. How a request is sent is for the
// clients.

export interface Pace {
  /** Sent before counting starts, ms. */
  warmup: number;
  /** Counted, ms; requests under way at its end are finished and counted with the time they took. */
  duration: number;
}

export interface LoadResult {
  requests: number;
  seconds: number;
  /** ms */
  median: number;
  p99: number;
}

export interface Client {
  /** Resolves when it is answered. */
  send(): Promise<void>;
  close(): void;
}

async function counted(clients: Client[], { warmup, duration }: Pace): Promise<LoadResult> {
  const took: number[] = [];
  const start = performance.now() + warmup;
  const end = start + duration;
  let began = 0;
  let ended = 0;
  await Promise.all(
    clients.map(async (client) => {
      for (let at = performance.now(); at < end; ) {
        await client.send();
        const now = performance.now();
        // A request counts when it began after the warm-up; the clock starts with the first of them.
        if (at >= start) {
          began = began === 0 ? at : Math.min(began, at);
          ended = now;
          took.push(now - at);
        }
        at = now;
      }
    }),
  );
  // All began in the warm-up.
  if (took.length === 0) return counted(clients, { warmup: 0, duration });
  took.sort((a, b) => a - b);
  return {
    requests: took.length,
    seconds: (ended - began) / 1000,
    median: took[took.length >> 1]!,
    p99: took[Math.floor(took.length * 0.99)]!,
  };
}

/** Closes the clients at its end. */
export async function closedLoop(clients: Client[], pace: Pace): Promise<LoadResult> {
  try {
    return await counted(clients, pace);
  } finally {
    for (const client of clients) client.close();
  }
}
