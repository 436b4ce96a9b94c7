import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type Browser, type Page, chromium } from 'playwright-core';
import { createApp } from '../../src/app.js';
import { Tickets } from '../../src/auth/tickets.js';
import { readConfig } from '../../src/config/config.js';
import { SessionRepository } from '../../src/sessions/session.repository.js';
import { findProgram } from '../support/program.js';
import { until } from '../support/until.js';

/**
 * Real players from Debian's packages, at the gate, in real time. They contain no Streamgate code. X = 2 s and n = 3, so
 * that a place is free 6 s after its player has stopped. Players fetch one segment at a time; the segments of the sample
 * are shorter than 6 s.
 */
const X_MS = 2_000;
const MAX_AHEAD_SECONDS = 6;
/** What an end leaves, and the length of a segment, by which a position can be behind. The film has 64 s. */
const MOST_LEFT_SECONDS = MAX_AHEAD_SECONDS + X_MS / 1_000 + 6;
const run = promisify(execFile);

function find(program: string): string | undefined {
  const found = findProgram(program);
  // Written directly, because Jest would delay it. The log of a run must show which tests were skipped, and why.
  if (found === undefined)
    process.stderr.write(`The tests in ${program} are skipped: it is not on this machine.\n`);
  return found;
}

const ffmpeg = find('ffmpeg');
const mpv = find('mpv');
const browserPath = find('chromium');

/** A page of another site: hls.js with a buffer of one to two segments, a muted video, and a text that shows refusals. */
const PAGE = `<!doctype html><meta charset="utf-8"><video muted autoplay playsinline></video><p></p><script src="/hls.js"></script><script>
const video = document.querySelector('video');
const hls = window.hls = new Hls({ maxBufferLength: 6, maxMaxBufferLength: 6, startLevel: 0 });
hls.on(Hls.Events.ERROR, (_, { response }) => {
  if (response?.code === 403) document.querySelector('p').textContent = 'refused with ' + response?.code;
});
hls.loadSource(new URLSearchParams(location.search).get('src'));
hls.attachMedia(video);
</script>`;

const start = async (environment: Record<string, string> = {}): Promise<NestFastifyApplication> => {
  const app = await createApp(
    readConfig({ LOG_LEVEL: 'silent', PHASE_SECONDS: String(X_MS / 1_000), ...environment }),
  );
  await app.listen(0, '127.0.0.1');
  return app;
};

let app: NestFastifyApplication;
/** Serves a stream with a single media playlist. A player with a ticket is led to a second URL for it. */
let other: NestFastifyApplication;
/** Lets a session have at most 6 s left to play. */
let strict: NestFastifyApplication;
let gate: string;
let sessions: SessionRepository;
beforeAll(async () => {
  app = await start();
  other = await start({ STREAM_ORIGIN: join(__dirname, '../../samples/streams/test-pattern') });
  strict = await start({ MAX_AHEAD_SECONDS: String(MAX_AHEAD_SECONDS) });
  gate = `${await app.getUrl()}/v1/play/test-pattern/index.m3u8`;
  sessions = app.get(SessionRepository);
});
afterAll(() => Promise.all([app.close(), other.close(), strict.close()]));

const held = async (user: string, on = app): Promise<string[]> =>
  (await on.get(SessionRepository).list(user)).sessions.map(({ sessionId }) => sessionId);
const byName = (user: string): string => `${gate}?user_id=${user}`;
const byTicket = async (user: string): Promise<string> => {
  const { ticket } = await other.get(Tickets).issue('playlist', {
    userId: user,
    sessionId: 'tv',
    streamId: '360p',
    quota: { maxSessions: 1 },
    device: undefined,
  });
  return `${await other.getUrl()}/v1/play/360p/index.m3u8?ticket=${ticket}`;
};

/**
 * How many seconds of the film a player shows after its session was ended, until it exits by itself. The player plays in
 * real time and writes its position to its output.
 */
const playsOnFor = async (
  user: string,
  program: string,
  args: (url: string) => string[],
  position: RegExp,
) => {
  const player = spawn(
    program,
    args(`${await strict.getUrl()}/v1/play/test-pattern/index.m3u8?user_id=${user}`),
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const exit = once(player, 'exit');
  try {
    let seconds = 0;
    for (const output of [player.stdout, player.stderr])
      output.on('data', (text: Buffer) => {
        const found = position.exec(text.toString());
        if (found) seconds = Number(found[1]);
      });
    await until(() => seconds > 10);
    const endedAt = seconds;
    await strict.get(SessionRepository).end(user, 'all', 'operator');
    await exit;
    return seconds - endedAt;
  } finally {
    player.kill();
  }
};

(browserPath === undefined ? describe.skip : describe)('hls.js in Chromium', () => {
  let browser: Browser;
  let site: Server;
  let home: string;
  beforeAll(async () => {
    const library = readFileSync(require.resolve('hls.js/dist/hls.min.js'));
    site = createServer(({ url }, response) => {
      const page = url!.startsWith('/?');
      response.setHeader('content-type', page ? 'text/html' : 'text/javascript');
      response.end(page ? PAGE : library);
    });
    site.listen(0, '127.0.0.1');
    await once(site, 'listening');
    home = `http://127.0.0.1:${(site.address() as AddressInfo).port}`; // another origin than the gate's
    browser = await chromium.launch({
      executablePath: browserPath!,
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'],
    });
  });
  afterAll(async () => {
    await browser?.close();
    site?.closeAllConnections();
    site?.close();
  });

  const load = async (src: string): Promise<Page> => {
    const page = await browser.newPage();
    await page.goto(`${home}/?${new URLSearchParams({ src }).toString()}`);
    return page;
  };
  const open = async (user: string): Promise<Page> => load(byName(user));
  const position = async (page: Page): Promise<number> =>
    page.evaluate(
      () => (globalThis as unknown as { hls: { media: { currentTime: number } } }).hls.media.currentTime,
    );
  const plays = async (page: Page): Promise<void> => {
    const from = await position(page);
    await until(async () => (await position(page)) > from + 1);
  };
  const refused = async (page: Page): Promise<string> => {
    await until(async () => (await page.textContent('p')) !== '');
    return (await page.textContent('p'))!;
  };

  it('plays in three tabs; a fourth tab is refused, and plays n·X after one was closed', async () => {
    const tabs = [await open('ana'), await open('ana'), await open('ana')];
    await Promise.all(tabs.map(plays));
    const fourth = await open('ana');
    expect(await refused(fourth)).toBe('refused with 403');
    expect(await held('ana')).toHaveLength(3);
    await tabs[0]!.close();
    await until(async () => (await held('ana')).length === 2);
    await fourth.reload();
    await plays(fourth);
    expect(await held('ana')).toHaveLength(3);
    await Promise.all([...tabs.slice(1), fourth].map((tab) => tab.close()));
  });

  it('stays one session when it changes quality and seeks', async () => {
    const page = await open('bob');
    await plays(page);
    const before = await held('bob');
    const level = await page.evaluate(() => {
      const { hls } = globalThis as unknown as { hls: { currentLevel: number; nextLevel: number } };
      return (hls.nextLevel = 1 - hls.currentLevel);
    });
    await page.evaluate(() => {
      (globalThis as unknown as { hls: { media: { currentTime: number } } }).hls.media.currentTime = 40;
    });
    await plays(page);
    await until(
      async () =>
        (await page.evaluate(
          () => (globalThis as unknown as { hls: { currentLevel: number } }).hls.currentLevel,
        )) === level,
    );
    expect(await held('bob')).toEqual(before);
    await page.close();
  });

  it('plays with a ticket for a URL', async () => {
    const page = await load(await byTicket('joe'));
    await plays(page);
    expect(await held('joe', other)).toEqual(['tv']);
    await page.close();
  });

  it('gets no more media after its session was ended, and does not start again by itself', async () => {
    const page = await open('eve');
    await plays(page);
    const [session] = await held('eve');
    await sessions.end('eve', [session!], 'operator');
    expect(await refused(page)).toBe('refused with 403');
    // The player plays its buffer and stops, even after the store has removed the record of the ended session.
    await new Promise((resolve) => setTimeout(resolve, 5 * X_MS));
    const stopped = await position(page);
    await new Promise((resolve) => setTimeout(resolve, 3 * X_MS));
    expect(await position(page)).toBe(stopped);
    expect(await held('eve')).toEqual([]);
    await page.close();
  });
});

(ffmpeg === undefined ? describe.skip : describe)('ffmpeg', () => {
  const decode = async (url: string) =>
    run(ffmpeg!, ['-v', 'error', '-t', '12', '-i', url, '-f', 'null', '-'], {
      timeout: 60_000,
    });

  it('plays as one session, and is refused as a fourth', async () => {
    expect((await decode(byName('fred'))).stderr).toBe('');
    expect(await held('fred')).toHaveLength(1);
    for (const session of ['a', 'b', 'c']) await fetch(`${gate}?user_id=gus&session_id=${session}`);
    await expect(decode(byName('gus'))).rejects.toThrow('403 Forbidden');
    expect((await held('gus')).toSorted()).toEqual(['a', 'b', 'c']);
  });

  it('stops at the end of what it fetched when its session is ended', async () => {
    const args = (url: string) => ['-v', 'error', '-re', '-i', url, '-progress', '-', '-f', 'null', '-'];
    expect(await playsOnFor('lea', ffmpeg!, args, /out_time_us=(\d+)\d{6}\b/)).toBeLessThan(
      MOST_LEFT_SECONDS,
    );
  });

  it('plays with a ticket for a URL', async () => {
    expect((await decode(await byTicket('kim'))).stderr).toBe('');
    expect(await held('kim', other)).toEqual(['tv']);
  });
});

(mpv === undefined ? describe.skip : describe)('mpv', () => {
  const play = async (url: string) =>
    run(mpv!, ['--no-config', '--vo=null', '--ao=null', '--untimed', '--length=3', url], { timeout: 60_000 });

  it('plays as one session, and is refused as a fourth', async () => {
    await play(byName('hal')); // it loads the first URL twice
    expect(await held('hal')).toHaveLength(1);
    for (const session of ['a', 'b', 'c']) await fetch(`${gate}?user_id=ida&session_id=${session}`);
    await expect(play(byName('ida'))).rejects.toThrow('mpv');
    expect((await held('ida')).toSorted()).toEqual(['a', 'b', 'c']);
  });

  it('is paced without an error, and stops at the end of what it fetched when its session is ended', async () => {
    const args = (url: string) => [
      '--no-config',
      '--vo=null',
      '--ao=null',
      '--term-status-msg=at ${=time-pos}\n',
      url,
    ];
    expect(await playsOnFor('max', mpv!, args, /at ([\d.]+)/)).toBeLessThan(MOST_LEFT_SECONDS);
  });

  it('plays with a ticket for a URL', async () => {
    await play(await byTicket('liv'));
    expect(await held('liv', other)).toEqual(['tv']);
  });
});
