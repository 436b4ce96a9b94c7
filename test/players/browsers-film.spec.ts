import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type Page } from 'playwright-core';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { SessionRepository } from '../../src/sessions/session.repository.js';
import { QUALITIES, makeFilm } from '../support/film.js';
import { PLAYERS, type PlayerName, PlayerSite, seen } from '../support/player-site.js';
import { findProgram } from '../support/program.js';
import {
  type ProgramName,
  type Screen,
  isProgram,
  programsHere,
  screenInPage,
  screenInProgram,
} from '../support/screens.js';
import { until } from '../support/until.js';

/**
 * Players with default settings, at a gate with default settings, on a film of ten minutes: X = 10 s, n = 3,
 * MAX_AHEAD_SECONDS = 60. They need half an hour of real time, and a machine with nothing else to do.
 */
const X_SECONDS = 10;
const MAX_AHEAD_SECONDS = 60;
/** What an end leaves, and the length of a segment, by which a position can be behind. */
const MOST_LEFT_SECONDS = MAX_AHEAD_SECONDS + X_SECONDS + 4;
const LIMIT = 3;
const PATIENCE_MS = 60_000;
const [browserPath, ffmpeg] = [findProgram('chromium'), findProgram('ffmpeg')];
const isAsked = process.env.TEST_BROWSERS === 'true';
const lacks = browserPath === undefined || ffmpeg === undefined;
if (lacks || !isAsked)
  process.stderr.write(
    lacks
      ? 'The tests of players on a long film are skipped: they need chromium and ffmpeg.\n'
      : 'The tests of players on a long film are skipped: npm run test:browsers runs them by themselves.\n',
  );
const programs = isAsked && !lacks ? programsHere() : [];
/** What the tests saw, for docs/players.md. */
const tell = (text: string): void => void process.stderr.write(`  ${text}\n`);

(lacks || !isAsked ? describe.skip : describe)(
  'players without code of ours on a film of ten minutes',
  () => {
    let folder: string;
    let site: PlayerSite;
    /** Serves the film as its origin does, for a comparison. */
    let direct: Server;
    let app: NestFastifyApplication;
    /** One place for each user. */
    let single: NestFastifyApplication;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'film-'));
      await makeFilm(ffmpeg!, join(folder, 'film'));
      site = await PlayerSite.open(browserPath!);
      const start = async (environment: Record<string, string>) => {
        const started = await createApp(
          readConfig({ LOG_LEVEL: 'silent', STREAM_ORIGIN: folder, ...environment }),
        );
        await started.listen(0, '127.0.0.1');
        return started;
      };
      app = await start({});
      single = await start({ MAX_SESSIONS_PER_USER: '1' });
      direct = createServer(({ url }, response) => {
        response.setHeader('access-control-allow-origin', '*');
        response.end(readFileSync(join(folder, url!)));
      }).listen(0, '127.0.0.1');
      await once(direct, 'listening');
    }, 180_000);
    afterAll(async () => {
      await Promise.all([site?.close(), app?.close(), single?.close()]);
      direct?.closeAllConnections();
      direct?.close();
      await rm(folder, { recursive: true });
    });

    const opened: Screen[] = [];
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((screen) => screen.close()));
    });
    const open = async (
      name: PlayerName | ProgramName,
      url: string,
      options: { adapted?: boolean } = {},
    ): Promise<Screen> => {
      const screen = isProgram(name)
        ? screenInProgram(name, url)
        : await screenInPage(site, name, url, options);
      opened.push(screen);
      return screen;
    };

    const urlFor = async (user: string, at = app): Promise<string> =>
      `${await at.getUrl()}/v1/play/film/index.m3u8?user_id=${user}`;
    const held = async (user: string, at = app): Promise<string[]> =>
      (await at.get(SessionRepository).list(user)).sessions.map(({ sessionId }) => sessionId);
    const moves = async (screen: Screen): Promise<void> => {
      const from = await screen.position();
      await until(async () => (await screen.position()) > from + 1, PATIENCE_MS);
    };
    const positions = async (screens: readonly Screen[]): Promise<number[]> =>
      Promise.all(screens.map((screen) => screen.position()));
    const inEach = async <T extends { name: string }>(
      players: readonly T[],
      check: (player: T) => Promise<void>,
    ): Promise<void> => {
      const checks = players.map((player) =>
        check(player).catch((cause: unknown) => {
          throw new Error(`${JSON.stringify(player)}: ${(cause as Error).message}`, { cause });
        }),
      );
      await Promise.all(checks);
    };

    /**
     * Three players play, and three more try again and again, for as long as places could be lost wrongly. Then the three
     * are ended. Returns for how many seconds at most they play on.
     */
    const playSixOnThree = async (name: PlayerName | ProgramName): Promise<number> => {
      const OBSERVED_SECONDS = 90;
      const url = await urlFor(name.replaceAll(' ', ''));
      const openThree = async (): Promise<Screen[]> => {
        const three: Screen[] = [];
        while (three.length < LIMIT) {
          three.push(await open(name, url));
          // Two programs of one machine that start within two seconds count as one.
          if (isProgram(name)) await sleep(3_000);
        }
        return three;
      };
      const first = await openThree();
      await Promise.all(first.map(moves));
      const late = await openThree();
      const screens = [...first, ...late];
      const begun = performance.now();
      const from = await positions(screens);
      let most = 0;
      let empty = 0;
      let before = from;
      for (let round = 1; performance.now() - begun < OBSERVED_SECONDS * 1_000; round++) {
        if (round % 5 === 0) await Promise.all(late.map((screen) => screen.retry()));
        await sleep(1_000);
        const now = await positions(screens);
        const moving = now.filter((position, at) => position > before[at]! && position > 0).length;
        most = Math.max(most, moving);
        expect([round, moving <= LIMIT]).toEqual([round, true]);
        for (const screen of first) if (await screen.isEmpty()) empty++;
        before = now;
      }
      const seconds = (performance.now() - begun) / 1_000;
      const played = before.slice(0, LIMIT).map((position, at) => position - from[at]!);
      tell(
        `${name}: at most ${most} move; ${played.map(Math.round).join(', ')} of ${Math.round(seconds)} s played`,
      );
      expect([most, empty]).toEqual([LIMIT, 0]);
      // The clock of a picture is late on a busy machine, though it never runs out.
      for (const one of played) expect(one).toBeGreaterThan(0.8 * seconds);
      await Promise.all(late.map((screen) => screen.close()));

      await app.get(SessionRepository).end(name.replaceAll(' ', ''), 'all', 'operator');
      const atEnd = await positions(first);
      const stopped = await whenStill(first);
      const playedOn = stopped.map((position, at) => position - atEnd[at]!);
      tell(`${name}: ended, plays on for ${playedOn.map(Math.round).join(', ')} s`);
      return Math.max(...playedOn);
    };

    /** Their positions when none has moved for ten seconds. */
    const whenStill = async (screens: readonly Screen[]): Promise<number[]> => {
      let before = await positions(screens);
      for (let still = 0; still < 10;) {
        await sleep(1_000);
        const now = await positions(screens);
        still = now.every((position, at) => position === before[at]) ? still + 1 : 0;
        before = now;
      }
      return before;
    };

    it.each(PLAYERS)(
      'of six %s at a limit of 3, three play and never run out; when they are ended, they stop in time',
      async (name) => {
        expect(await playSixOnThree(name)).toBeLessThan(MOST_LEFT_SECONDS);
      },
      400_000,
    );

    it('the same with six of each program of this machine: ffmpeg, mpv and VLC', async () => {
      const left = await Promise.all(programs.map(playSixOnThree));
      expect(Math.max(0, ...left)).toBeLessThan(MOST_LEFT_SECONDS);
    }, 400_000);

    it('a player goes on after a pause of five minutes; with our adapters it keeps its place meanwhile', async () => {
      const PAUSE_MS = 300_000;
      // ffmpeg cannot pause.
      const plain = [...PLAYERS, ...programs.filter((name) => name !== 'ffmpeg')];
      const cases = [
        ...plain.map((name) => ({ name, adapted: false })),
        ...PLAYERS.map((name) => ({ name, adapted: true })),
      ];
      await inEach(cases, async ({ name, adapted }) => {
        const user = `pause-${name.replaceAll(' ', '')}-${adapted ? 'adapted' : 'plain'}`;
        const screen = await open(name, await urlFor(user, single), { adapted });
        await until(async () => (await screen.position()) > 15, 2 * PATIENCE_MS);
        const before = await held(user, single);
        await screen.pause();
        await sleep(2_000);
        const at = await screen.position();
        const pausedAt = performance.now();
        let freeAfter = Infinity;
        while (performance.now() - pausedAt < PAUSE_MS) {
          await sleep(1_000);
          const isHeld = (await held(user, single)).length > 0;
          if (!isHeld) freeAfter = Math.min(freeAfter, (performance.now() - pausedAt) / 1_000);
          expect(adapted ? await held(user, single) : before).toEqual(before);
        }
        expect((await screen.position()) - at).toBeLessThan(1);
        await screen.resume();
        // Beyond all that it can have buffered.
        await until(async () => (await screen.position()) > at + MAX_AHEAD_SECONDS + 2 * X_SECONDS, 180_000);
        tell(`${user}: place free after ${Math.round(freeAfter)} s of pause; it played on`);
        expect(await held(user, single)).toHaveLength(1);
      });
    }, 700_000);

    // One player at a time: two cores decode no more than two pictures of the better quality.
    it.each(PLAYERS.flatMap((name) => [1, 8].map((megabits) => ({ name, megabits }))))(
      '$name chooses the same quality with the gate as without it, at $megabits Mb/s',
      async ({ name, megabits }) => {
        const { port } = direct.address() as AddressInfo;
        const play = async (src: string): Promise<Page> =>
          site.play(name, src, { adapted: false, bitsPerSecond: megabits * 1e6 });
        const pages = [
          await play(`http://127.0.0.1:${port}/film/index.m3u8`),
          await play(await urlFor(`quality-${name.replaceAll(' ', '')}-${megabits}`)),
        ];
        const heights = pages.map(() => [] as number[]);
        for (let second = 0; second < 60; second++) {
          await sleep(1_000);
          for (const [at, page] of pages.entries()) heights[at]!.push((await seen(page)).height);
        }
        await Promise.all(pages.map((page) => page.close()));
        const [without, through] = heights.map((list) => list.slice(-30));
        // video.js takes no more lines than its picture has on the page, which are those of the lower quality.
        const expected = QUALITIES[megabits === 1 || name === 'video.js' ? 0 : 1].height;
        const share = (list: number[]): number =>
          list.filter((height) => height === expected).length / list.length;
        tell(
          `${name} at ${megabits} Mb/s: ${expected} lines for ${share(without!)} without the gate, ${share(through!)} with it`,
        );
        expect([share(without!), share(through!)]).toEqual([1, 1]);
      },
      300_000,
    );
  },
);
