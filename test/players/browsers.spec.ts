import { setTimeout as sleep } from 'node:timers/promises';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type Page } from 'playwright-core';
import { createApp } from '../../src/app.js';
import { Tickets } from '../../src/auth/tickets.js';
import { readConfig } from '../../src/config/config.js';
import { SessionRepository } from '../../src/sessions/session.repository.js';
import { PLAYERS, type PlayerName, PlayerSite, seen } from '../support/player-site.js';
import { findProgram } from '../support/program.js';
import { until } from '../support/until.js';

/** n·X is longer than the interval of the keepalives of the adapters, as it is by default. */
const X_MS = 4_000;
const PATIENCE_MS = 60_000;
const browserPath = findProgram('chromium');
/** Nine players and six pictures in real time need the machine for themselves, which `npm test` does not have. */
const isAsked = process.env.TEST_BROWSERS === 'true';
if (browserPath === undefined || !isAsked)
  process.stderr.write(
    browserPath === undefined
      ? 'The tests of players in Chromium are skipped: it is not on this machine.\n'
      : 'The tests of nine players in Chromium at a time are skipped: npm run test:browsers runs them by themselves.\n',
  );

/** What the tests saw, for docs/players.md. */
const tell = (text: string): void => void process.stderr.write(`  ${text}\n`);

/** The players run at the same time, because each test waits for playback in real time. */
(browserPath !== undefined && isAsked ? describe : describe.skip)(
  'hls.js, Shaka Player and video.js in Chromium',
  () => {
    let site: PlayerSite;
    beforeAll(async () => {
      site = await PlayerSite.open(browserPath!);
    }, PATIENCE_MS);
    afterAll(() => site?.close());

    const useGate = (environment: Record<string, string>): { app: NestFastifyApplication } => {
      const gate = {} as { app: NestFastifyApplication };
      beforeAll(async () => {
        gate.app = await createApp(readConfig({ LOG_LEVEL: 'silent', ...environment }));
        await gate.app.listen(0, '127.0.0.1');
      }, PATIENCE_MS);
      afterAll(() => gate.app.close());
      return gate;
    };
    const playlistOf = async ({ app }: { app: NestFastifyApplication }, query: string): Promise<string> =>
      `${await app.getUrl()}/v1/play/test-pattern/index.m3u8?${query}`;
    const plays = async (page: Page): Promise<void> => {
      const from = (await seen(page)).time;
      await until(async () => (await seen(page)).time > from + 1, PATIENCE_MS);
    };

    describe('with our adapters, at a limit of 1', () => {
      const gate = useGate({
        PHASE_SECONDS: String(X_MS / 1_000),
        MAX_AHEAD_SECONDS: String((6 * X_MS) / 1_000),
        MAX_SESSIONS_PER_USER: '1',
      });
      const sessions = (): SessionRepository => gate.app.get(SessionRepository);
      const held = async (user: string): Promise<string[]> =>
        (await sessions().list(user)).sessions.map(({ sessionId }) => sessionId);
      const open = async (player: PlayerName, user: string): Promise<Page> =>
        site.play(player, await playlistOf(gate, `user_id=${user}`), { adapted: true });
      const told = async (page: Page): Promise<object> => {
        await until(async () => (await seen(page)).refusals.length > 0, PATIENCE_MS);
        return (await seen(page)).refusals[0]!;
      };
      const inEach = async (what: string, check: (player: PlayerName, user: string) => Promise<void>) => {
        const checks = PLAYERS.map((player, at) =>
          check(player, `${what}-${at}`).catch((cause: unknown) => {
            throw new Error(`${player}: ${(cause as Error).message}`, { cause });
          }),
        );
        await Promise.all(checks);
      };

      it('a refused player shows the refusal, asks no more, and plays when it is told to try again', async () => {
        await inEach('full', async (player, user) => {
          const first = await open(player, user);
          await plays(first);
          const second = await open(player, user);
          expect(await told(second)).toMatchObject({
            type: 'refused',
            limit: 1,
            sessions: [{ sessionId: (await held(user))[0] }],
          });
          await sleep(2_000); // Shaka repeats a failed request once.
          const requests: string[] = [];
          second.on('request', (request) => requests.push(request.url()));
          await sleep(X_MS);
          expect(requests).toEqual([]);
          const { spins, message, refusals } = await seen(second);
          expect([spins, refusals.length]).toEqual([false, 1]);
          expect(message).toContain(player === 'video.js' ? 'All places are taken' : '');
          // The page goes: its place is free at once, long before n·X.
          const goes = performance.now();
          await first.goto('about:blank');
          await until(async () => (await held(user)).length === 0, 2 * X_MS);
          tell(
            `${player} with our adapter: place free ${Math.round(performance.now() - goes)} ms after the page goes`,
          );
          await second.evaluate('playback.retry()');
          await plays(second);
          expect(await held(user)).toHaveLength(1);
          await Promise.all([first.close(), second.close()]);
        });
      }, 180_000);

      it('a player continues its session after a reload, and stops at once when the session is ended', async () => {
        await inEach('ended', async (player, user) => {
          const page = await open(player, user);
          await plays(page);
          const before = await held(user);
          await page.reload();
          await plays(page);
          expect(await held(user)).toEqual(before);
          await sessions().end(user, before, 'operator');
          expect(await told(page)).toMatchObject({ type: 'ended', reason: 'operator' });
          await until(async () => (await seen(page)).paused, X_MS);
          const { time } = await seen(page);
          await sleep(X_MS);
          expect(await seen(page)).toMatchObject({ time, spins: false });
          await page.close();
        });
      }, 180_000);

      it('a paused player keeps its place, and gives it back when its page goes, also with a ticket', async () => {
        await inEach('paused', async (player, user) => {
          const { ticket } = await gate.app.get(Tickets).issue('playlist', {
            userId: user,
            sessionId: 'tab',
            streamId: 'test-pattern',
            quota: { maxSessions: 1 },
            device: undefined,
          });
          const page = await site.play(player, await playlistOf(gate, `ticket=${ticket}`), { adapted: true });
          await plays(page);
          await page.evaluate('document.querySelector("video").pause()');
          // Without keepalives, all that was handed out is over after 6·X and a phase, and the place is free (n-1)·X later: 9·X.
          await sleep(10 * X_MS);
          expect(await held(user)).toEqual(['tab']);
          await page.evaluate('void document.querySelector("video").play()');
          await plays(page);
          expect(await held(user)).toEqual(['tab']);
          await page.goto('about:blank');
          await until(async () => (await held(user)).length === 0, 2 * X_MS);
          await page.close();
        });
      }, 180_000);
    });

    describe('with reports of their own (CMCD) to our event target, or with none', () => {
      const gate = useGate({
        PHASE_SECONDS: String(X_MS / 1_000),
        MAX_AHEAD_SECONDS: String((3 * X_MS) / 1_000),
      });

      it('a closed tab keeps its place for as long as it has something left to play, and (n-1)·X', async () => {
        const sessions = gate.app.get(SessionRepository);
        const cases = [
          { player: 'hls.js', reports: true },
          { player: 'Shaka Player', reports: true },
          { player: 'video.js', reports: false },
        ] as const;
        await Promise.all(
          cases.map(async ({ player, reports }) => {
            const user = player.replaceAll(' ', '');
            const named = `user_id=${user}&session_id=tab`;
            const src = await playlistOf(gate, named);
            const page = await site.play(player, src, {
              adapted: false,
              ...(reports && { reports: `${await gate.app.getUrl()}/v1/cmcd?${named}` }),
            });
            await plays(page);
            await page.close();
            const closed = performance.now();
            const [session] = (await sessions.list(user)).sessions;
            const expected = session!.playsUntil + 2 * X_MS - Date.now();
            await until(async () => (await sessions.list(user)).sessions.length === 0, PATIENCE_MS);
            const after = performance.now() - closed;
            tell(
              `${player}, reports ${reports}: place free ${Math.round(after)} ms after the tab was closed, ${Math.round(expected)} expected`,
            );
            expect(after).toBeGreaterThan(expected - 1_000);
            expect(after).toBeLessThan(expected + X_MS);
          }),
        );
      }, 120_000);
    });

    describe('with no code of ours and default settings', () => {
      const gate = useGate({});
      const UNTIL_MS = 55_000; // long after n·X, and before the end of the film of 64 s

      it('show no more than 3 moving pictures of 6 at a limit of 3, and the first 3 never run out', async () => {
        const src = await playlistOf(gate, 'user_id=screens');
        const begun = performance.now();
        const first = await Promise.all(PLAYERS.map((player) => site.play(player, src, { adapted: false })));
        await Promise.all(first.map(plays));
        const late = await Promise.all(PLAYERS.map((player) => site.play(player, src, { adapted: false })));
        const pages = [...first, ...late];
        const most = { moving: 0 };
        let before = (await Promise.all(pages.map(seen))).map(({ time }) => time);
        for (let round = 1; performance.now() - begun < UNTIL_MS; round++) {
          // Viewers who are refused try again.
          if (round % 5 === 0) await Promise.all(late.map((page) => page.reload()));
          await sleep(1_000);
          const now = await Promise.all(pages.map(seen));
          const moving = now.filter(({ time }, at) => time > before[at]! && time > 0);
          most.moving = Math.max(most.moving, moving.length);
          before = now.map(({ time }) => time);
          const empty = now.slice(0, 3).filter(({ ahead, ended }) => ahead < 0.1 && !ended);
          expect([round, moving.length <= 3, empty]).toEqual([round, true, []]);
        }
        expect(most.moving).toBe(3);
        expect(before.slice(0, 3).every((time) => time > 10)).toBe(true);
        await Promise.all(pages.map((page) => page.close()));
      }, 240_000);
    });
  },
);
