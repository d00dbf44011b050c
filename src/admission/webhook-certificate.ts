// Keeps the certificate of the webhooks: in its Secret, in their configurations, and at the listener. What is served is always what the
// configurations trust by then.

import { setTimeout as sleep } from 'node:timers/promises';
import { timerMs } from '../platform/timer.ts';
import type { Api } from '../policy/sources/kubernetes/api.ts';
import type { Logger } from '../telemetry/log.ts';
import { type WebhookConfiguration, watchConfiguration, writeCaBundle } from './ca-bundles.ts';
import { syncWebhookSecret } from './webhook-secret.ts';
import type { WebhookTls } from './webhook-tls.ts';

const LOOK_MS = 30_000;
/** Until it has succeeded once, ms. */
const FIRST_LOOK_MS = 1_000;

export interface WebhookCertificateOptions {
  api: Api;
  /** Of the Secret. */
  namespace: string;
  secret: string;
  /** That the API server calls. */
  hosts: readonly string[];
  configurations: readonly WebhookConfiguration[];
  /** A certificate and its key, PEM: at first, and whenever it is another. */
  onPair: (pair: { cert: string; key: string }) => void | Promise<void>;
  log: Logger;
  /** Between two looks, ms; default 30 s. */
  look?: number;
  /** Default: Date.now */
  now?: () => number;
}

export class WebhookCertificate {
  readonly #options: WebhookCertificateOptions;
  readonly #end = new AbortController();
  #tls: WebhookTls | undefined;
  #served: string | undefined;
  #round: Promise<void> = Promise.resolve();
  /** It is served, and the configurations trust it. */
  ready = false;

  constructor(options: WebhookCertificateOptions) {
    this.#options = options;
  }

  /** Until `close`. */
  async run(): Promise<void> {
    const { api, configurations, look = LOOK_MS } = this.#options;
    const { signal } = this.#end;
    for (const each of configurations)
      void watchConfiguration(api, each, { signal, retry: look, onChange: () => this.#bundles() });
    while (!signal.aborted) {
      await this.look();
      await sleep(timerMs(this.ready ? look : Math.min(look, FIRST_LOOK_MS)), undefined, { signal }).catch(
        () => {},
      );
    }
  }

  /** What is due, now. Never rejects. */
  async look(): Promise<void> {
    await this.#alone(async () => {
      const { api, namespace, secret: name, hosts, now = Date.now } = this.#options;
      this.#tls = await syncWebhookSecret({ api, namespace, name, hosts, now }, this.#tls);
      await this.#write(this.#tls);
      await this.#serve(this.#tls);
      this.ready = true;
    });
  }

  async #bundles(): Promise<void> {
    await this.#alone(async () => {
      if (this.#tls) await this.#write(this.#tls);
    });
  }

  async #alone(work: () => Promise<void>): Promise<void> {
    this.#round = this.#round.then(work).catch((err: unknown) => {
      if (!this.#end.signal.aborted)
        this.#options.log.warn({ err }, 'the certificate of the webhooks cannot be kept; it is tried again');
    });
    await this.#round;
  }

  async #write({ bundle }: WebhookTls): Promise<void> {
    const { api, configurations, log } = this.#options;
    for (const each of configurations)
      if (await writeCaBundle(api, each, bundle)) log.info({ configuration: each.name }, 'caBundle written');
  }

  async #serve({ certificate, key }: WebhookTls): Promise<void> {
    if (this.#served === certificate) return;
    await this.#options.onPair({ cert: certificate, key });
    this.#served = certificate;
    this.#options.log.info('certificate in use');
  }

  close(): void {
    this.#end.abort();
  }
}
