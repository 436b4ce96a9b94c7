import { type IncomingMessage, type ServerResponse } from 'node:http';
import { LocalServer } from './local-server.js';

/** A real HTTP origin whose answers the test can hold back. */
export class HeldOrigin extends LocalServer {
  private readonly counts = new Map<string, number>();
  private readonly held = new Map<string, (release: () => void) => void>();
  private readonly unanswered = new Set<() => void>();
  /** The target of the redirect for a stream. */
  readonly redirects = new Map<string, string>();

  protected handle(request: IncomingMessage, response: ServerResponse): void {
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
  }

  get template(): string {
    return `${this.url}/vod/{stream_id}/index.m3u8`;
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
        // All of its segments: a stream with some of its own is served.
        response.end(playlist('http://169.254.169.254/secret.ts', []));
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

function playlist(first: string, others = ['1.ts', '2.ts', '3.ts', '4.ts']): string {
  const segments = [first, ...others].map((uri) => `#EXTINF:10,\n${uri}`);
  return ['#EXTM3U', '#EXT-X-TARGETDURATION:10', ...segments, '#EXT-X-ENDLIST', ''].join('\n');
}
