import { once } from 'node:events';
import { type Socket, connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { show } from '../figures.mts';
import type { Memory } from '../servers.mts';
import { scaled } from '../store.mts';
import { type Gate, expectOf, leadsTo, pathOf, startGate } from './service.mts';

/** The service holds no more replies than this at the same time. */
const MAX_HELD = 10_000;
const PLAYERS = scaled(MAX_HELD);
/** Few enough that the kernel accepts all of their connections. */
const AT_ONCE = 100;
const STREAM = 'long';
/** X, so long that the players play only a little of it during the measurement; and the segments of a phase. */
const PHASE_SECONDS = 600;
const SEGMENTS_PER_PHASE = 150;
/** The service then lets a player have two phases in a row, and holds the reply with the third. */
const MAX_AHEAD_SECONDS = 3 * PHASE_SECONDS;
/** The service holds a reply for up to 20 s. */
const ALL_HELD_WITHIN_MS = 19_000;
const MB = 1e6;

/** Measures the memory of replies that the service holds because their players are too far ahead. */
export async function measureHeld(): Promise<void> {
  await using gate = await startGate({
    SESSION_STORE: 'memory', // the sessions are there before the measurement
    PHASE_SECONDS: String(PHASE_SECONDS),
    MAX_AHEAD_SECONDS: String(MAX_AHEAD_SECONDS),
  });
  const players = Array.from({ length: PLAYERS }, (_, at) => `player-${at}`);
  await eachOf([...players, 'one-more'], async (player) => fetchTwoPhases(gate, player));
  using connections = new DisposableStack();
  const before = await gate.server.memory();
  const replies: Promise<void>[] = [];
  await eachOf(players, async (player) => {
    const socket = connections.adopt(await connectTo(gate), (open) => open.destroy());
    replies.push(expectRedirectToItself(socket, pathOfPhase(2, player)));
  });
  // Whichever is wrong first: the number of held replies, or a reply.
  const all = Promise.all(replies);
  await Promise.race([expectHeld(gate, PLAYERS), all]);
  if (PLAYERS === MAX_HELD) await expectOf(gate, pathOfPhase(2, 'one-more'), isTooFarAhead);
  const held = await gate.server.memory();
  await all;
  // The connections are still open.
  const answered = await gate.server.memory();

  const aim = { below: 100, by: 'worst' } as const;
  const added = (which: keyof Memory, from: Memory, to: Memory) => ({
    unit: 'MB',
    values: [(to[which] - from[which]) / MB],
  });
  show(`Memory of ${PLAYERS.toLocaleString('en')} held replies`, [
    { name: 'heap before', unit: 'MB', values: [before.heap / MB] },
    { name: 'heap that their connections add', ...added('heap', before, answered) },
    { name: 'heap that the held replies add', ...added('heap', answered, held), aim },
    { name: 'resident before', unit: 'MB', values: [before.rss / MB] },
    { name: 'resident that both add', ...added('rss', before, held), aim },
  ]);
}

/** Does the work for each item, for many at the same time. */
async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = items.values();
  const lane = async (): Promise<void> => {
    for (const item of waiting) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

/** The path of the first segment of a phase, for a player whose user and session have its name. */
function pathOfPhase(phase: number, player: string): string {
  return pathOf(STREAM, `${phase * SEGMENTS_PER_PHASE}.ts`, { userId: player, sessionId: player });
}

async function fetchTwoPhases(gate: Gate, player: string): Promise<void> {
  await expectOf(gate, pathOfPhase(0, player), leadsTo(gate, `${STREAM}/segment-00000.ts`));
  await expectOf(gate, pathOfPhase(1, player), leadsTo(gate, `${STREAM}/segment-00150.ts`));
}

async function connectTo({ server }: Gate): Promise<Socket> {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  return socket;
}

/** Sends a request, and expects that the service answers only after the longest hold: the player must send it again. */
async function expectRedirectToItself(socket: Socket, path: string): Promise<void> {
  socket.write(`GET ${path} HTTP/1.1\r\nhost: gate.example\r\n\r\n`);
  const [reply] = (await once(socket, 'data')) as [Buffer];
  const head = reply.toString('latin1');
  if (!head.startsWith('HTTP/1.1 302') || !head.includes(`location: http://gate.example${path}\r\n`))
    throw new Error(`another reply than the same address for ${path}: ${head.slice(0, 1_000)}`);
}

/** Waits until the service holds this many replies, by its own metric. */
async function expectHeld({ server }: Gate, count: number): Promise<void> {
  const deadline = performance.now() + ALL_HELD_WITHIN_MS;
  for (;;) {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    const held = Number(/^streamgate_held_replies (\d+)$/m.exec(metrics)?.[1]);
    if (held === count) return;
    if (performance.now() > deadline) throw new Error(`the service held ${held} of ${count} replies`);
    await sleep(100);
  }
}

function isTooFarAhead({ status }: { status: number }): string | undefined {
  return status === 429 ? undefined : `status ${status}`;
}
