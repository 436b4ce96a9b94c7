import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type Browser, type Page, chromium } from 'playwright-core';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { SessionRepository } from '../../src/sessions/session.repository.js';
import { findProgram } from '../support/program.js';
import { until } from '../support/until.js';

const [browserPath, ffmpeg] = [findProgram('chromium'), findProgram('ffmpeg')];
const lacks = browserPath === undefined || ffmpeg === undefined;
if (lacks)
  process.stderr.write('The tests of the page of watch() are skipped: they need chromium and ffmpeg.\n');

/** `watch` and a `<video>`, without a player library: demo/watch.js appends the segments of each phase. */
(lacks ? describe.skip : describe)('the page of watch() in Chromium', () => {
  let browser: Browser;
  let app: NestFastifyApplication;
  let origin: string;
  beforeAll(async () => {
    origin = await mkdtemp(join(tmpdir(), 'watch-page-'));
    await cp(join(__dirname, '../../samples/streams/test-pattern/360p'), join(origin, 'sample'), {
      recursive: true,
    });
    await writeFile(join(origin, 'key'), '0123456789abcdef');
    await writeFile(join(origin, 'keys.txt'), `key.bin\n${join(origin, 'key')}\n`);
    await encode('byte-ranges', ['-hls_segment_type', 'fmp4', '-hls_flags', 'single_file']);
    await encode('encrypted', ['-hls_key_info_file', join(origin, 'keys.txt')]);
    await cp(join(origin, 'key'), join(origin, 'encrypted/key.bin'));
    app = await createApp(
      readConfig({
        LOG_LEVEL: 'silent',
        STREAM_ORIGIN: origin,
        PHASE_SECONDS: '4',
        // A minute, like the patience of the tests. By default a page whose segment arrives after 12 s is refused and stops.
        IDLE_PHASES: '15',
        MAX_SESSIONS_PER_USER: '1',
      }),
    );
    await app.listen(0, '127.0.0.1');
    browser = await chromium.launch({
      executablePath: browserPath!,
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'],
    });
  });
  afterAll(async () => {
    await browser?.close();
    await app?.close();
    await rm(origin, { recursive: true });
  });

  async function encode(name: string, options: readonly string[]): Promise<void> {
    await mkdir(join(origin, name));
    const picture = ['-nostdin', '-v', 'error', '-f', 'lavfi', '-i', 'testsrc=size=320x180:rate=10'];
    const sound = ['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=32000'];
    const codecs = ['-t', '12', '-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-g', '20', '-c:a', 'aac'];
    const hls = ['-f', 'hls', '-hls_time', '2', '-hls_playlist_type', 'vod'];
    await promisify(execFile)(ffmpeg!, [
      ...picture,
      ...sound,
      ...codecs,
      ...hls,
      ...options,
      join(origin, name, 'index.m3u8'),
    ]);
  }

  const open = async (user: string, stream: string): Promise<Page> => {
    const page = await browser.newPage();
    await page.goto(`${await app.getUrl()}/demo/watch.html`);
    await page.fill('[name=user]', user);
    await page.fill('[name=stream]', stream);
    await page.click('#open button');
    return page;
  };
  const time = async (page: Page): Promise<number> =>
    Number(await page.evaluate('document.querySelector("video").currentTime'));
  const plays = async (page: Page, seconds: number): Promise<void> =>
    until(async () => {
      const news = await page.textContent('#news');
      if (news?.startsWith('Stopped')) throw new Error(news);
      return (await time(page)) > seconds;
    });

  // One after the other: three pages that start at the same time are too much for a busy machine.
  it.each(['sample', 'byte-ranges', 'encrypted'])('plays phase after phase: %s', async (stream) => {
    const page = await open(stream, stream);
    // Beyond the first phase, whose segments last 4 s at most, and pictures, not only a clock.
    await plays(page, 4.5);
    expect(await page.evaluate('document.querySelector("video").videoWidth')).toBeGreaterThan(0);
    expect(
      await page.evaluate('document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames'),
    ).toBeGreaterThan(20);
    const { sessions } = await app.get(SessionRepository).list(stream);
    expect(sessions).toHaveLength(1);
    await page.close();
  });

  it('shows a refusal, takes the place that the viewer chooses, and stops the other page', async () => {
    const first = await open('ana', 'sample');
    await plays(first, 0.5);
    const second = await open('ana', 'sample');
    await until(async () => (await second.textContent('#news')) === 'All 1 places are taken.');
    await second.click('#choices button');
    await plays(second, 0.5);
    await until(async () => (await first.textContent('#news')) === 'This session was ended: replaced.');
    expect(await first.evaluate('document.querySelector("video").paused')).toBe(true);
    expect((await app.get(SessionRepository).list('ana')).sessions).toHaveLength(1);
  });
});
