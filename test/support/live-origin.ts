import { type IncomingMessage, type ServerResponse } from 'node:http';
import { LocalServer } from './local-server.js';

/** A real HTTP origin with one live stream, `news`, and its media. The test moves the window. */
export class LiveOrigin extends LocalServer {
  /** The first media sequence number of the window. */
  first = 100;
  ended = false;
  reads = 0;

  protected handle({ url }: IncomingMessage, response: ServerResponse): void {
    if (url === '/live/news/index.m3u8') {
      this.reads++;
      response.end(this.playlist());
    } else if (/^\/live\/news\/\d+\.ts/.test(url!)) response.end(`media of ${url!.split('?')[0]}`);
    else response.writeHead(404).end();
  }

  get template(): string {
    return `${this.url}/live/{stream_id}/index.m3u8`;
  }

  /** Six segments of 1 s. */
  playlist(): string {
    const segments = Array.from({ length: 6 }, (_, at) => `#EXTINF:1,\n${this.first + at}.ts`);
    return [
      '#EXTM3U',
      '#EXT-X-TARGETDURATION:1',
      `#EXT-X-MEDIA-SEQUENCE:${this.first}`,
      ...segments,
      ...(this.ended ? ['#EXT-X-ENDLIST'] : []),
      '',
    ].join('\n');
  }
}
