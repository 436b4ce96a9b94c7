import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type Browser, type Page, chromium } from 'playwright-core';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { findProgram } from '../support/program.js';
import { until } from '../support/until.js';

const browserPath = findProgram('chromium');
if (browserPath === undefined)
  process.stderr.write('The tests of the demo page are skipped: Chromium is not on this machine.\n');

/** The page as a viewer uses it, with hls.js as it comes and the default configuration. */
(browserPath === undefined ? describe.skip : describe)('the demo page in Chromium', () => {
  let browser: Browser;
  let app: NestFastifyApplication;
  let page: Page;
  const faults: string[] = [];
  const start = async (port: number): Promise<void> => {
    app = await createApp(readConfig({ LOG_LEVEL: 'silent' }));
    await app.listen(port, '127.0.0.1');
  };
  beforeAll(async () => {
    await start(0);
    browser = await chromium.launch({
      executablePath: browserPath!,
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'],
    });
    page = await browser.newPage({ viewport: { width: 320, height: 640 } });
    page.on('pageerror', ({ message }) => faults.push(message));
    await page.goto(await app.getUrl());
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    await app?.close();
  });

  const open = async (device = ''): Promise<void> => {
    await page.fill('[name=device]', device);
    await page.click('#open button');
  };
  const text = async (selector: string): Promise<string> => (await page.textContent(selector)) ?? '';
  const shows = async (selector: string, wanted: string | RegExp): Promise<void> =>
    until(async () => {
      const texts = await page.locator(selector).allTextContents();
      return texts.some((one) => (typeof wanted === 'string' ? one.includes(wanted) : wanted.test(one)));
    });
  const buttons = async (): Promise<string[]> => page.locator('.over:not([hidden]) button').allTextContents();
  const card = (name: string) => page.locator('article', { hasText: `${name}:` });

  it('shows a countdown for each place, and the buffered seconds and the device of each player', async () => {
    await open();
    await open('Tablet');
    await open('Living-room TV');
    for (const [name, device] of [
      ['Player 1', ''],
      ['Player 2', 'on Tablet, '],
      ['Player 3', 'on Living-room TV, '],
    ] as const) {
      await shows(
        '#places li',
        new RegExp(`^${name}.*, ${device}since .*\\d s left to play; free in \\d+ s if silent$`),
      );
      await shows('article', new RegExp(`${name}.*[1-9]\\d* s buffered`));
    }
    const left = async (): Promise<number> => Number(/free in (\d+) s/.exec(await text('#places li'))![1]);
    const before = await left();
    await until(async () => (await left()) < before);
    expect(await page.locator('#places .free').count()).toBe(0);
  });

  it('offers a refused viewer the places of others, and puts the focus on none of them', async () => {
    await open();
    await shows('.over', 'All 3 places are taken.');
    expect(await buttons()).toEqual(
      ['Player 1', 'Player 2', 'Player 3'].map((name) => `Stop ${name}, play here`),
    );
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Open a player');
  });

  it('tells that the viewer closed a player, and offers its place to the refused one at once', async () => {
    await card('Player 1').getByRole('button', { name: 'Close Player 1' }).click();
    await shows('#news', 'You closed Player 1: its place is free.');
    await shows('.over', 'A place is free.');
    expect(await buttons()).toEqual(['Play here']);
    await page.getByRole('button', { name: 'Play here' }).click();
    await shows('#places li', /^Player 4/);
    await shows('article', /Player 4.*[1-9]\d* s buffered/);
    expect(await buttons()).toEqual([]);
  });

  it('shows that a player on the same device took the place, and the former player without one', async () => {
    await open('Tablet');
    await shows('#news', /Player 2 was replaced by Player 5\.|Player 5 has a place\./);
    await shows('#places li', /^Player 5/);
    const former = card('Player 2').locator('.state, .over');
    await until(async () => /without a place|was stopped/.test((await former.allTextContents()).join()));
    expect(await page.locator('#places li', { hasText: 'Player 2' }).count()).toBe(0);
  });

  it('says that the server is away and when it is back, and fits a narrow screen', async () => {
    const { port } = new URL(page.url());
    await app.close();
    await shows('#away', 'The server does not answer.');
    await start(Number(port));
    await shows('#news', 'The server answers again.');
    expect(await page.isHidden('#away')).toBe(true);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(320);
    expect(faults).toEqual([]);
  });
});
