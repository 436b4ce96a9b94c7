import { ENVIRONMENT, type Server, giveLastCpu, startServer } from '../servers.mts';
import { namesIn, rewritten } from './playlist.mts';

/** The built service as in production, without a log line per request, with an origin of the benchmark. */
export interface Gate extends AsyncDisposable {
  readonly server: Server;
  /** The beginning of every signed URL. */
  readonly origin: string;
}

/** `store`: the variables for its store, and other variables. */
export async function startGate(store: Record<string, string>): Promise<Gate> {
  await using started = new AsyncDisposableStack();
  const origin = started.use(await startServer('servers/origin.mts', {}));
  const server = started.use(
    await startServer('../dist/main.js', {
      ...ENVIRONMENT,
      STREAM_ORIGIN: `${origin.url}/{stream_id}/index.m3u8`,
      LOG_LEVEL: 'warn',
      ...store,
    }),
  );
  giveLastCpu(server);
  const resources = started.move();
  return {
    server,
    origin: `${origin.url}/`,
    [Symbol.asyncDispose]: async () => resources.disposeAsync(),
  };
}

export interface Viewer {
  readonly userId: string;
  readonly sessionId: string;
}

/** The gate's path of a name in the playlist of this stream; `index.m3u8` is the playlist itself. */
export function pathOf(streamId: string, name: string, viewer: Viewer): string {
  return `/v1/play/${streamId}/0/${name}${queryOf(viewer)}`;
}

function queryOf({ userId, sessionId }: Viewer): string {
  return `?user_id=${userId}&session_id=${sessionId}`;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly location: string;
}

async function get(gate: Gate, path: string): Promise<Answer> {
  const reply = await fetch(gate.server.url + path, { redirect: 'manual' });
  return { status: reply.status, body: await reply.text(), location: reply.headers.get('location') ?? '' };
}

/** Returns what is wrong with an answer, or undefined. */
export type Judge = (answer: Answer) => string | undefined;

export const isPlaylist =
  (viewer: Viewer): Judge =>
  ({ status, body }) => {
    if (status !== 200) return `status ${status}`;
    return body === rewritten(namesIn(body), queryOf(viewer)) ? undefined : 'another playlist';
  };

/** `path`: the path of the media, below the origin. */
export const leadsTo =
  (gate: Gate, path: string): Judge =>
  ({ status, location }) => {
    if (status !== 302) return `status ${status}`;
    return location.startsWith(`${gate.origin}${path}?expires=`) && location.includes('&signature=')
      ? undefined
      : `another address: ${location}`;
  };

export const isDenied =
  (code: string): Judge =>
  ({ status, body }) =>
    status === 403 && (JSON.parse(body) as { code: string }).code === code
      ? undefined
      : `status ${status}, not ${code}`;

export async function expectOf(gate: Gate, path: string, judge: Judge): Promise<Answer> {
  const answer = await get(gate, path);
  const fault = judge(answer);
  if (fault !== undefined) throw new Error(`${fault} for ${path}: ${answer.body.slice(0, 1_000)}`);
  return answer;
}

/** Starts like a player: with the playlist, and with the first segment, which confirms the session. */
export async function startWatching(gate: Gate, streamId: string, viewer: Viewer): Promise<Answer> {
  const playlist = await expectOf(gate, pathOf(streamId, 'index.m3u8', viewer), isPlaylist(viewer));
  await expectOf(gate, pathOf(streamId, '0.ts', viewer), leadsTo(gate, `${streamId}/segment-00000.ts`));
  return playlist;
}
