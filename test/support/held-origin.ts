import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';

/** A real HTTP origin whose answers the test can hold back. */
export class HeldOrigin {
  private readonly counts = new Map<string, number>();
  private readonly held = new Map<string, (release: () => void) => void>();
  private readonly unanswered = new Set<() => void>();
  private readonly server = createServer((request, response) => {
    const stream = request.url!.split('/').at(-2)!;
    this.counts.set(stream, this.requestsFor(stream) + 1);
    const announce = this.held.get(stream);
    this.held.delete(stream);
    if (announce) {
      const release = (): void => {
        this.unanswered.delete(release);
        this.answer(stream, response);
      };
      this.unanswered.add(release);
      announce(release);
    } else this.answer(stream, response);
  });
  /** The target of the redirect for a stream. */
  readonly redirects = new Map<string, string>();
  template = '';

  async start(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.template = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/vod/{stream_id}/index.m3u8`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Holds the next answer for a stream. Resolves when the request arrives, with a function that sends the answer. */
  hold(stream: string): Promise<() => void> {
    return new Promise((resolve) => {
      this.held.set(stream, resolve);
    });
  }

  /** Sends all held answers, and holds no more. */
  release(): void {
    this.held.clear();
    for (const release of this.unanswered) release();
  }

  requestsFor(stream: string): number {
    return this.counts.get(stream) ?? 0;
  }

  private answer(stream: string, response: ServerResponse): void {
    const location = this.redirects.get(stream);
    if (location !== undefined) {
      response.writeHead(302, { location }).end();
      return;
    }
    switch (stream) {
      case 'fault.answers-500':
        response.writeHead(500).end();
        break;
      case 'fault.answers-404':
        response.writeHead(404).end();
        break;
      case 'fault.sends-something-else':
        response.end('<!doctype html><p>Welcome');
        break;
      case 'fault.hangs-up':
        response.destroy();
        break;
      case 'fault.redirects':
        response.writeHead(302, { location: 'http://169.254.169.254/' }).end();
        break;
      case 'fault.leads-out':
        response.end(playlist('http://169.254.169.254/secret.ts'));
        break;
      case 'live':
        response.end(LIVE);
        break;
      default:
        response.end(playlist('0.ts'));
    }
  }
}

/** A live playlist, which is read again every half second. */
const LIVE =
  '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:100\n#EXTINF:1,\n0.ts\n#EXTINF:1,\n1.ts\n';

function playlist(first: string): string {
  const segments = [first, '1.ts', '2.ts', '3.ts', '4.ts'].map((uri) => `#EXTINF:10,\n${uri}`);
  return ['#EXTM3U', '#EXT-X-TARGETDURATION:10', ...segments, '#EXT-X-ENDLIST', ''].join('\n');
}
