import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';

/** A real HTTP origin with one live stream, `news`, and its media. The test moves the window. */
export class LiveOrigin {
  /** The first media sequence number of the window. */
  first = 100;
  ended = false;
  reads = 0;
  private readonly server = createServer(({ url }, response) => {
    if (url === '/live/news/index.m3u8') {
      this.reads++;
      response.end(this.playlist());
    } else if (/^\/live\/news\/\d+\.ts/.test(url!)) response.end(`media of ${url!.split('?')[0]}`);
    else response.writeHead(404).end();
  });
  template = '';

  async start(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.template = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/live/{stream_id}/index.m3u8`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
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
