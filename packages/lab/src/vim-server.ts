import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Listen } from '@sendense/runtime';
import type { Certificate } from './certificate.js';
import type { LabContext } from './context.js';
import type { Faults } from './faults.js';

export interface VimServerOptions {
  readonly context: LabContext;
  readonly faults: Faults;
  readonly certificate: Certificate;
  readonly credentials: { readonly username: string; readonly password: string };
  readonly listen: Listen;
  readonly taskDurationMs: number;
  readonly sessionIdleMs: number;
}

/** The vSphere API of the lab over HTTPS. */
export class VimServer implements AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly endpoint: string;
  readonly thumbprints: { readonly sha1: string; readonly sha256: string };

  private constructor(
    private readonly server: Server,
    options: VimServerOptions,
  ) {
    this.host = options.listen.host;
    this.port = (server.address() as AddressInfo).port;
    this.endpoint = `https://${this.host}:${this.port}/sdk`;
    this.thumbprints = options.certificate.thumbprints;
  }

  static async start(options: VimServerOptions): Promise<VimServer> {
    const server = createServer({
      key: options.certificate.keyPem,
      cert: options.certificate.certificatePem,
    });
    server.listen(options.listen);
    await once(server, 'listening');
    return new VimServer(server, options);
  }

  notifyChange(): void {}
  expireSessions(): void {}
  sessionCount(): number {
    return 0;
  }
  operations(): Record<string, number> {
    return {};
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
  }
}
