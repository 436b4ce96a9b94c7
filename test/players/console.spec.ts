import { createHash } from 'node:crypto';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type Browser, type Page, type Request, chromium } from 'playwright-core';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { EventStreams } from '../../src/sessions/event-streams.js';
import { SessionRepository } from '../../src/sessions/session.repository.js';
import { findProgram } from '../support/program.js';
import { until } from '../support/until.js';

const browserPath = findProgram('chromium');
if (browserPath === undefined)
  process.stderr.write('The tests of the console are skipped: Chromium is not on this machine.\n');

const [SUPPORT, READER, SCRAPER] = ['token-of-support', 'token-of-a-reader', 'token-of-a-scraper'];
const entry = (name: string, scopes: string, token: string): string =>
  `${name}:${scopes}:${createHash('sha256').update(token).digest('hex')}`;
/** As bad as a name of a device can be. */
const EVIL = '<img src=x onerror="document.title=1">';

(browserPath === undefined ? describe.skip : describe)('the console in Chromium', () => {
  let browser: Browser;
  let app: NestFastifyApplication;
  let page: Page;
  let requests: Request[] = [];
  const faults: string[] = [];
  let users = 0;
  let user: string;

  beforeAll(async () => {
    app = await createApp(
      readConfig({
        LOG_LEVEL: 'silent',
        RATE_LIMIT_PER_ADDRESS: '0',
        // The page asks again when a session is due. No test lasts so long: what it sees comes from events.
        PHASE_SECONDS: '300',
        API_TOKENS: [
          entry('support', 'sessions:read,sessions:end', SUPPORT),
          entry('reader', 'sessions:read', READER),
          entry('scraper', 'metrics', SCRAPER),
        ].join(' '),
      }),
    );
    await app.listen(0, '127.0.0.1');
    browser = await chromium.launch({
      executablePath: browserPath!,
      args: ['--headless', '--no-sandbox', '--disable-gpu'],
    });
  });
  afterAll(async () => {
    await browser?.close();
    await app?.close();
  });
  beforeEach(async () => {
    user = `viewer-${++users}`;
    requests = [];
    page = await browser.newPage({ viewport: { width: 320, height: 640 } });
    page.on('pageerror', ({ message }) => faults.push(message));
    page.on('request', (request) => requests.push(request));
    // Violations of the Content-Security-Policy are errors in the browser's console. Refused requests are too.
    page.on('console', (message) => {
      if (message.type() === 'error' && !message.text().includes('status of 4')) faults.push(message.text());
    });
    await page.goto(`${await app.getUrl()}/console`);
  });
  afterEach(async () => {
    await page.close();
    await until(() => app.get(EventStreams).size === 0);
    expect(faults.splice(0)).toEqual([]);
  });

  const signIn = async (token: string): Promise<void> => {
    await page.fill('#token', token);
    await page.click('#sign-in button');
  };
  const open = async (token = SUPPORT): Promise<void> => {
    await signIn(token);
    await page.fill('#user-name', user);
    await page.click('#find button');
    await shows('#connection', 'live');
  };
  const shows = async (selector: string, wanted: string | RegExp): Promise<void> =>
    until(async () => {
      const texts = await page.locator(selector).allInnerTexts();
      return texts.some((text) => (typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text)));
    });
  const play = async (device: string, stream = 'test-pattern'): Promise<number> => {
    const reply = await fetch(`${await app.getUrl()}/v1/phases`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        user_id: user,
        stream_id: stream,
        session_id: device,
        device: { id: device, name: device === 'evil' ? EVIL : `Ana’s ${device}` },
      }),
    });
    await reply.text();
    return reply.status;
  };
  const heldBy = async (): Promise<string[]> =>
    (await app.get(SessionRepository).list(user)).sessions.map(({ sessionId }) => sessionId);
  const places = () => page.locator('#places > li');
  const focused = (): Promise<string> =>
    page.evaluate('document.activeElement.id || document.activeElement.textContent');

  it('lets nobody in without a token that may read sessions, and keeps the token in memory only', async () => {
    await signIn('a-guess');
    await shows('#problem', 'with a token that has the scope sessions:read');
    await signIn(SCRAPER);
    await shows('#problem', 'this one does not have it');
    expect(await page.isHidden('#user')).toBe(true);
    await signIn(SUPPORT);
    await shows('#account', 'support');
    expect(await page.isHidden('#problem')).toBe(true);
    expect(await focused()).toBe('user-name');
    const kept = await page.evaluate(
      'JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, [...document.querySelectorAll("input")].map((input) => input.value)])',
    );
    expect(kept).not.toContain('token-of');
    expect(requests.filter((request) => request.url().includes('token-of'))).toEqual([]);
    await page.reload();
    expect(await page.isVisible('#sign-in')).toBe(true);
    expect(await page.isHidden('#views')).toBe(true);
  });

  it('shows the places as people would say it, counting down, and a new one without a reload or a poll', async () => {
    expect(await play('tv')).toBe(201);
    await open();
    await shows('#summary', '1 of 3 places is taken. A new player would be admitted.');
    await shows('#places li', /Ana’s tv playing\n+test-pattern, since .*\n+Expires in \d+ s if silent/);
    const left = async (): Promise<number> =>
      Number(/in (\d+) s/.exec(await page.locator('.left').first().innerText())![1]);
    const before = await left();
    await until(async () => (await left()) < before);
    const asked = (): number => requests.filter((request) => request.url().endsWith('/sessions')).length;
    const lists = asked();
    await play('phone', 'colour-bars');
    await shows('#places li', /Ana’s phone playing\n+colour-bars/);
    expect(asked() - lists).toBe(1);
    await shows('#events li', 'Ana’s phone started colour-bars.');
    await shows('#news', 'Ana’s phone started colour-bars.');
    await shows('#log-name', /^In the log: [\w-]{16}$/);
    await app.get(SessionRepository).end(user, ['tv'], 'user');
    await shows('#events li', 'Ana’s tv was ended by the user: test-pattern.');
    await until(async () => (await places().count()) === 1);
  });

  it('tells a paused player, which sends keepalives, from one that plays', async () => {
    await play('tv');
    await open();
    await shows('#places li', 'Ana’s tv playing');
    const path = `${await app.getUrl()}/v1/users/${user}/sessions/tv/keepalive`;
    // A pause counts from the first keepalive. The event of another player makes the page look.
    for (const other of ['phone', 'tablet']) {
      expect((await fetch(path, { method: 'POST' })).status).toBe(200);
      await play(other);
      await shows('#places li', `Ana’s ${other} playing`);
    }
    await shows('#places li', 'Ana’s tv paused');
    await play('tv', 'colour-bars');
    await shows('#places li', 'Ana’s tv playing');
  });

  it('explains a refusal, before and after it was opened, by the sessions that held the places', async () => {
    for (const device of ['tv', 'phone', 'tablet']) await play(device);
    expect(await play('laptop')).toBe(409);
    await open();
    const refusal = page.locator('#events li[data-type=refused]');
    await shows(
      '#events li[data-type=refused]',
      'Ana’s laptop was refused test-pattern: all 3 places were taken.',
    );
    const held = await refusal.locator('li').allInnerTexts();
    const heard = /^Ana’s (\w+): test-pattern, since .*, (?:last heard \d+ s before|heard at that instant)$/;
    expect(held.map((text) => heard.exec(text)?.[1])).toEqual(['tv', 'phone', 'tablet']);
    expect(await play('watch', 'colour-bars')).toBe(409);
    await shows('#events li[data-type=refused]', 'Ana’s watch was refused colour-bars');
    expect(await refusal.count()).toBe(2);
    await shows('#summary', 'A new player would be refused.');
  });

  it('ends a session only after a confirmation, and sends the note', async () => {
    for (const device of ['tv', 'phone']) await play(device);
    await open();
    await page.getByRole('button', { name: 'End Ana’s tv…' }).click();
    expect(await focused()).toBe('end-cancel');
    await page.keyboard.press('Enter');
    expect(await page.isHidden('#end-dialog')).toBe(true);
    await page.getByRole('button', { name: 'End Ana’s tv…' }).click();
    await page.fill('#note', 'Ticket 7: „verloren“ 📺');
    await page.keyboard.press('Enter'); // in a form, this would press its button
    expect(await page.isVisible('#end-dialog')).toBe(true);
    expect(await heldBy()).toHaveLength(2);
    expect(requests.filter((request) => request.method() === 'DELETE')).toEqual([]);
    await page.getByRole('button', { name: 'End session' }).click();
    await until(async () => (await places().count()) === 1);
    expect(await heldBy()).toEqual(['phone']);
    await shows('#events li', 'Ana’s tv was ended by support or a service: test-pattern.');
    const [ended] = requests.filter((request) => request.method() === 'DELETE');
    expect(decodeURIComponent(ended!.headers()['x-audit-note']!)).toBe('Ticket 7: „verloren“ 📺');
    expect(await focused()).toBe('user-title');
  });

  it('ends all sessions by the keyboard alone, without a note', async () => {
    for (const device of ['tv', 'phone']) await play(device);
    const press = async (...keys: string[]): Promise<void> => {
      for (const key of keys) await page.keyboard.press(key);
    };
    expect(await focused()).toBe('token');
    await page.keyboard.type(SUPPORT);
    await press('Enter');
    await until(async () => (await focused()) === 'user-name');
    await page.keyboard.type(user);
    await press('Enter');
    await until(async () => (await places().count()) === 2);
    await until(async () => {
      await press('Tab');
      return (await focused()) === 'end-all';
    });
    await press('Enter');
    expect([await page.innerText('#end-title'), await focused()]).toEqual([
      `End all sessions of ${user}?`,
      'end-cancel',
    ]);
    await press('Tab');
    expect(await focused()).toBe('end-confirm');
    await press('Enter');
    await shows('#summary', '0 of 3 places are taken.');
    expect(await heldBy()).toEqual([]);
    const [ended] = requests.filter((request) => request.method() === 'DELETE');
    expect(ended!.headers()).not.toHaveProperty('x-audit-note');
  });

  it('offers no end to a token that may only read', async () => {
    await play('tv');
    await open(READER);
    await until(async () => (await places().count()) === 1);
    expect(await page.getByRole('button', { name: /^End/ }).count()).toBe(0);
  });

  it('shows names of devices as text, and fits 320 pixels', async () => {
    await play('evil');
    await open();
    await shows('#places li', EVIL);
    await shows('#events li', EVIL);
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.title()).toBe('Streamgate console');
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(320);
  });

  it('shows the last hour and the health', async () => {
    await play('tv');
    await signIn(SUPPORT);
    await page.getByRole('button', { name: 'Overview' }).click();
    await shows('#health', 'healthy');
    for (const [chart, text] of [
      ['live', /Live sessions [1-9]/],
      ['admitted', /Admitted [1-9]/],
      ['refused', /Refused, by this instance \d/],
      ['expired', /Expired \d/],
    ] as const)
      await shows(`[data-chart=${chart}]`, text);
    expect(await page.getByRole('img', { name: /^Admitted: now \d+, highest \d+/ }).count()).toBe(1);
    await shows('#callbacks', /Receivers\n+0/);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(320);
    await page.getByRole('button', { name: 'User', exact: true }).click();
    expect(await page.isHidden('#overview')).toBe(true);
    await page.getByRole('button', { name: 'Sign out' }).click();
    expect(await page.isVisible('#sign-in')).toBe(true);
  });
});
