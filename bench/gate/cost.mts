import { CONNECTIONS, type Exchange, type Load } from '../load.mts';
import type { RedisUnderTest } from '../redis.mts';
import { ratioTable, table } from '../report.mts';
import { type Variant, runRounds, variantOf } from '../rounds.mts';
import { giveLastCpu, startServer } from '../servers.mts';
import { SEGMENTS } from './playlist.mts';
import {
  type Judge,
  type Viewer,
  expectOf,
  isPlaylist,
  leadsTo,
  pathOf,
  startGate,
  startWatching,
} from './service.mts';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 15);
const VIEWERS_PER_CONNECTION = 10;
const STREAM = 'long';

const VIEWERS: readonly (readonly Viewer[])[] = Array.from({ length: CONNECTIONS }, (_, connection) =>
  Array.from({ length: VIEWERS_PER_CONNECTION }, (_viewer, viewer) => ({
    userId: `user-${connection}-${viewer}`,
    sessionId: `session-${connection}-${viewer}`,
  })),
);

/** Measures the CPU of a segment and of a playlist, beside a server that sends a constant reply of the same size. */
export async function measureCost(server: RedisUnderTest): Promise<void> {
  await using gate = await startGate({ REDIS_URL: server.url });
  for (const viewer of VIEWERS.flat()) await startWatching(gate, STREAM, viewer);
  const [someone] = VIEWERS[0]!;
  const segment = leadsTo(gate, `${STREAM}/segment-00001.ts`);
  const { location } = await expectOf(gate, pathOf(STREAM, '1.ts', someone!), segment);
  const { body } = await expectOf(gate, pathOf(STREAM, 'index.m3u8', someone!), isPlaylist(someone!));
  await using constant = await startServer('servers/constant.mts', {
    LOCATION: location,
    PLAYLIST_BYTES: String(body.length),
  });
  giveLastCpu(constant);

  const same: Judge = (answer) => (answer.location === location ? undefined : 'another address');
  const asLong: Judge = (answer) => (answer.body.length === body.length ? undefined : 'another length');
  const redirects = pair(
    'a segment',
    loadOf(302, '1.ts', () => segment),
    loadOf(302, '1.ts', () => same),
  );
  const playlists = pair(
    'a playlist',
    loadOf(200, 'index.m3u8', isPlaylist),
    loadOf(200, 'index.m3u8', () => asLong),
  );
  await runRounds([...redirects, ...playlists], ROUNDS, server.redis);
  console.log(
    `\nA redirect to a segment, and a playlist of ${SEGMENTS} segments, ${body.length.toLocaleString('en')} bytes`,
  );
  console.log(`Median (least-most) of ${ROUNDS} rounds\n\n${table([...redirects, ...playlists])}`);
  for (const [floor, measured] of [redirects, playlists]) console.log(`\n${ratioTable([measured], floor)}`);

  function pair(name: string, measured: Load, floor: Load): [Variant, Variant] {
    return [
      variantOf(`constant, ${name}`, constant, floor),
      variantOf(`streamgate, ${name}`, gate.server, measured),
    ];
  }
}

function loadOf(status: number, name: string, judgeOf: (viewer: Viewer) => Judge): Load {
  const exchangeOf = (viewer: Viewer): Exchange => {
    const judge = judgeOf(viewer);
    return {
      request: { method: 'GET', path: pathOf(STREAM, name, viewer) },
      check: (got, body, headers) =>
        judge({ status: got, body, location: headers.location ?? headers.Location ?? '' }),
    };
  };
  return { status, exchanges: VIEWERS.map((list) => list.map(exchangeOf)) };
}
