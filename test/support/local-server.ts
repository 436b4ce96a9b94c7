import { once } from 'node:events';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { type AddressInfo } from 'node:net';

/** A real HTTP server of a test, on this machine. */
export abstract class LocalServer {
  private port = 0;
  private readonly server = createServer((request, response) => {
    this.handle(request, response);
  });

  protected abstract handle(request: IncomingMessage, response: ServerResponse): void;

  /** Starts the server. After a stop it starts again on the same port. */
  async start(): Promise<void> {
    this.server.listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = (this.server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const stopped = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await stopped;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
}
