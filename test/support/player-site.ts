import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Browser, type Page, chromium } from 'playwright-core';

export const PLAYERS = ['hls.js', 'Shaka Player', 'video.js'] as const;
export type PlayerName = (typeof PLAYERS)[number];

/** With the settings that each player has by default. `adapter` is our module for it. */
const RECIPES: Readonly<
  Record<PlayerName, { library: string; adapter: string; make: string; load: string }>
> = {
  'hls.js': {
    library: require.resolve('hls.js/dist/hls.min.js'),
    adapter: 'hls',
    make: `const player = new Hls(reports === null ? {} : { cmcd: { version: 2, eventTargets: [{ url: reports, events: ['ps', 't'], interval: 5 }] } });
player.attachMedia(video);`,
    load: 'player.loadSource(src);',
  },
  'Shaka Player': {
    library: require.resolve('shaka-player/dist/shaka-player.compiled.js'),
    adapter: 'shaka',
    make: `shaka.polyfill.installAll(); const player = new shaka.Player(); await player.attach(video);
if (reports !== null) player.configure({ cmcd: { enabled: true, version: 2, eventTargets: [{ enabled: true, mode: 'event', url: reports, events: ['ps', 't'], interval: 5 }] } });`,
    load: 'await player.load(src);',
  },
  'video.js': {
    library: require.resolve('video.js/dist/video.min.js'),
    adapter: 'videojs',
    make: "const player = videojs(video, { autoplay: 'muted' });",
    load: "player.src({ src, type: 'application/vnd.apple.mpegurl' });",
  },
};

/** The state of the player of a page, as a viewer sees it. */
export interface Seen {
  readonly time: number;
  readonly paused: boolean;
  readonly ended: boolean;
  /** Seconds that are buffered from the current position on. */
  readonly ahead: number;
  /** Of the pictures, in pixels; 0 before the first. */
  readonly height: number;
  /** What the adapter told the page. */
  readonly refusals: readonly { readonly type: string; readonly reason?: string }[];
  /** The message on the player of video.js. */
  readonly message: string;
  readonly spins: boolean;
}

function html(name: PlayerName, adapted: boolean): string {
  const { adapter, make, load } = RECIPES[name];
  const start = adapted
    ? `window.playback = playThroughGate(player, src, (told) => told_.push(told));`
    : load;
  return `<!doctype html><meta charset="utf-8"><title>${name}</title>
<link rel="stylesheet" href="/library/video.css">
<video class="video-js" muted autoplay playsinline width="320" height="180"></video>
<script src="/library/${adapter}.js"></script>
<script type="module">
${adapted ? `import { playThroughGate } from '/client/${adapter}.js';` : ''}
const query = new URLSearchParams(location.search);
const src = query.get('src');
const reports = query.get('reports');
const video = document.querySelector('video');
const told_ = [];
window.seen = () => {
  const video = document.querySelector('video');
  let ahead = 0;
  for (let i = 0; i < video.buffered.length; i++)
    if (video.buffered.start(i) <= video.currentTime + 0.3) ahead = video.buffered.end(i) - video.currentTime;
  const shown = (selector) => {
    const element = document.querySelector(selector);
    return element !== null && getComputedStyle(element).display !== 'none' ? element : undefined;
  };
  return {
    time: video.currentTime,
    paused: video.paused,
    ended: video.ended,
    ahead,
    height: video.videoHeight,
    refusals: told_,
    message: shown('.vjs-error-display')?.textContent ?? '',
    spins: shown('.vjs-loading-spinner') !== undefined && document.querySelector('.vjs-waiting, .vjs-seeking') !== null,
  };
};
${make}
${start}
</script>`;
}

/** A site of another origin than the gate, with a page for each player, in a real Chromium. */
export class PlayerSite {
  private constructor(
    private readonly server: Server,
    private readonly browser: Browser,
  ) {}

  static async open(browserPath: string): Promise<PlayerSite> {
    const libraries = new Map(
      Object.values(RECIPES).map(({ adapter, library }) => [`/library/${adapter}.js`, readFileSync(library)]),
    );
    const styles = readFileSync(require.resolve('video.js/dist/video-js.min.css'));
    const server = createServer(({ url = '/' }, response) => {
      const { pathname, searchParams } = new URL(url, 'http://site');
      const name = PLAYERS.find((one) => pathname === `/${encodeURIComponent(one)}`);
      const type =
        name !== undefined ? 'text/html' : pathname.endsWith('.css') ? 'text/css' : 'text/javascript';
      response.setHeader('content-type', type);
      if (name !== undefined) response.end(html(name, searchParams.has('adapted')));
      else if (pathname.startsWith('/client/'))
        response.end(readFileSync(join(__dirname, '../../client/dist', pathname.slice('/client/'.length))));
      else response.end(libraries.get(pathname) ?? styles);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const browser = await chromium.launch({
      executablePath: browserPath,
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'],
    });
    return new PlayerSite(server, browser);
  }

  async close(): Promise<void> {
    await this.browser.close();
    this.server.closeAllConnections();
    this.server.close();
  }

  /** Opens the player in a tab. Without `adapted`, the page contains no code of ours. */
  async play(name: PlayerName, src: string, { adapted, reports, bitsPerSecond }: PlayOptions): Promise<Page> {
    const page = await this.browser.newPage();
    if (bitsPerSecond !== undefined) await limitDownloads(page, bitsPerSecond);
    const { port } = this.server.address() as AddressInfo;
    const query = new URLSearchParams({ src, ...(adapted && { adapted: '' }), ...(reports && { reports }) });
    await page.goto(`http://127.0.0.1:${port}/${encodeURIComponent(name)}?${query.toString()}`);
    return page;
  }
}

interface PlayOptions {
  readonly adapted: boolean;
  /** The event target of the player's own CMCD reports, for hls.js and Shaka Player. */
  readonly reports?: string;
  readonly bitsPerSecond?: number;
}

async function limitDownloads(page: Page, bitsPerSecond: number): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: 20,
    downloadThroughput: bitsPerSecond / 8,
    uploadThroughput: -1,
  });
}

export async function seen(page: Page): Promise<Seen> {
  return page.evaluate(() => (globalThis as unknown as { seen: () => Seen }).seen());
}
