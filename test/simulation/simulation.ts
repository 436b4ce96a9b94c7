import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { ExpiryService } from '../../src/expiry/expiry.service.js';
import { type PhaseWindow } from '../../src/sessions/admission.js';
import {
  CallbackOutboxes,
  EVENT_TYPES,
  SessionEvents,
  messageId,
} from '../../src/sessions/session-events.js';
import { type Ledger, type SessionRepository } from '../../src/sessions/session.repository.js';
import { type Report, check } from '../prove/checker.js';
import { AUDIENCE, Dice, ISSUER } from '../prove/clients.js';
import { type Line, type RunLine } from '../prove/history.js';
import { writePlaylists } from '../prove/run.js';
import { SimulatedNetwork } from './network.js';
import { faultsOf } from './verdict.js';
import { PLANS, Viewers } from './viewers.js';
import { World } from './world.js';

export interface Simulation {
  readonly seed: number;
  /** For how long users watch, in simulated minutes. */
  readonly minutes: number;
  readonly users: number;
  /** Breaks the service, to test the simulation. */
  readonly plant?: (parts: Parts) => void;
}

/** The parts of the service that a test may break. */
interface Parts {
  readonly store: SessionRepository;
  readonly outboxes: CallbackOutboxes;
  readonly dice: Dice;
}

export interface Outcome {
  /** Of all that was asked, answered and told: equal for equal simulations. */
  readonly hash: string;
  /** Of the clock. */
  readonly steps: number;
  readonly events: number;
  readonly outages: number;
  /** Phases that were handed out without the store. */
  readonly continued: number;
  readonly report: Report;
  readonly ledger: Ledger;
  /** What is wrong; empty if all is well. */
  readonly faults: readonly string[];
}

const MINUTE_MS = 60_000;
const PHASE_MS = 10_000;
const STREAMS = { film: filmOf(400), news: filmOf(30, 4_000), short: filmOf(3), none: null };
const SECRET = 'the secret of a simulation, which protects nothing';
const OPERATOR = 'the-operator';
const RECEIVER = 'default';
/** How often the store or the receiver is away, on average, and for how long at most. */
const OUTAGE_EVERY_MS = 3 * MINUTE_MS;
const LONGEST_OUTAGE_MS = 50_000;
/** Longer than any session or record is kept without a request. */
const LAST_EXPIRY_MS = 10 * MINUTE_MS;
/** Callbacks that fail are tried for some hours. */
const LAST_CALLBACK_MS = 4 * 60 * MINUTE_MS;

function filmOf(phases: number, lastPhaseMs = PHASE_MS): PhaseWindow {
  return { oldest: 0, end: phases, start: 0, live: false, phaseMs: PHASE_MS, lastPhaseMs };
}

/** Runs the whole service on a simulated clock and network, and checks all that it answers and tells. */
export async function simulate({ seed, minutes, users: count, plant }: Simulation): Promise<Outcome> {
  // Neighbouring seeds would begin with similar numbers.
  const dice = new Dice(Math.imul(seed, 0x9e3779b1));
  const world = new World(dice);
  const network = new SimulatedNetwork(world);
  const origin = await mkdtemp(join(tmpdir(), 'streamgate-simulation-'));
  const config = readConfig(environmentOf(origin, dice));
  const app = await createApp(config, world, network);
  try {
    await writePlaylists(origin, STREAMS);
    network.server = app.getHttpServer();
    const [store, outboxes] = [network.store!, app.get(CallbackOutboxes)];
    plant?.({ store, outboxes, dice });
    const run: RunLine = {
      type: 'run',
      format: 1,
      seed,
      instances: 1,
      policy: config.policy,
      streams: STREAMS,
      lateMs: 0,
      lateAfter503Ms: 0,
    };
    const users = Array.from({ length: count }, (_, at) => `u${at}`);
    const tokens = await signTokens(users, world.now());
    const tokenOf = (user: string, limit: number): string => tokens.get(`${user} ${limit}`)!;
    const viewers = new Viewers(world, network, run, tokenOf, OPERATOR);
    const heard: string[] = [];
    for (const user of users)
      await app.get(SessionEvents).watch(user, undefined, (event) => {
        if (event.type !== 'session.refused') heard.push(messageId(event));
      });
    const durationMs = minutes * MINUTE_MS;
    for (const outages of [network.storeOutages, network.receiverOutages])
      for (let at = 0; ;) {
        at += dice.below(2 * OUTAGE_EVERY_MS);
        if (at >= durationMs) break;
        const from = world.now() + at;
        outages.push({ from, to: from + dice.below(dice.happens(0.5) ? 2_000 : LONGEST_OUTAGE_MS) });
      }
    void sweepEverySecond(app.get(ExpiryService), world);
    viewers.start(users);

    await world.pass(durationMs);
    viewers.isOver = true;
    await world.pass(LAST_EXPIRY_MS);
    void viewers.resumeSweeps();
    await world.pass(LAST_EXPIRY_MS);
    const outbox = outboxes.of(RECEIVER);
    const lastAt = world.now() + LAST_CALLBACK_MS;
    while ((await outbox.state()).waiting > 0 && world.now() < lastAt) await world.pass(MINUTE_MS);

    const requests = viewers.history(network);
    const lines: Line[] = [run, ...requests, { type: 'end', requests: requests.length }];
    const report = check(lines);
    const ledger = await store.ledger();
    const left = await Promise.all(users.map(async (user) => (await store.list(user)).sessions));
    const sweep = await store.expireIdle({ maxSessions: Infinity });
    const { admitted, unexpected } = viewers;
    const { arrivals, storeOutages } = network;
    const outcome = { report, ledger, admitted, unexpected, arrivals, heard, outages: storeOutages };
    const end = {
      left: left.flat().length,
      due: sweep.expired,
      more: sweep.more,
      outbox: await outbox.state(),
    };
    const hash = createHash('sha256');
    for (const one of [...lines, ...arrivals, heard, ledger, end]) hash.update(JSON.stringify(one));
    return {
      hash: hash.digest('hex').slice(0, 16),
      steps: world.steps,
      events: heard.length,
      outages: storeOutages.length,
      continued: admitted.filter(({ isDegraded }) => isDegraded).length,
      report,
      ledger,
      faults: faultsOf({ ...outcome, end }),
    };
  } finally {
    // The service waits on the simulated clock while it stops.
    const closed = app.close().then(() => true);
    while (!(await Promise.race([closed, world.pass(1_000)])));
    await rm(origin, { recursive: true, force: true });
  }
}

function environmentOf(origin: string, dice: Dice): Record<string, string> {
  return {
    SESSION_STORE: 'memory',
    STORE_DOWN_POLICY: dice.of(['open', 'closed']),
    STREAM_ORIGIN: origin,
    AUTH_MODE: 'jwt',
    AUTH_JWT_SECRET: SECRET,
    AUTH_ISSUER: ISSUER,
    AUTH_AUDIENCE: AUDIENCE,
    INTERNAL_API_TOKEN: OPERATOR,
    CALLBACK_URL: 'http://receiver.example/events',
    CALLBACK_EVENTS: EVENT_TYPES.join(','),
    MAX_PAUSE_SECONDS: '120',
    RATE_LIMIT_PER_USER: '0',
    RATE_LIMIT_PER_ADDRESS: '0',
    LOG_LEVEL: 'silent',
    LOG_FORMAT: 'json',
  };
}

async function sweepEverySecond(expiry: ExpiryService, world: World): Promise<void> {
  for (;;) {
    await world.sleep(1_000 - (world.now() % 1_000));
    await expiry.tick();
  }
}

/** A token for each user with each plan. */
async function signTokens(users: readonly string[], now: number): Promise<ReadonlyMap<string, string>> {
  const secret = Buffer.from(SECRET);
  const signed = users.flatMap((user) =>
    PLANS.map(async (limit): Promise<[string, string]> => {
      const token = new SignJWT({ max_sessions: limit })
        .setProtectedHeader({ alg: 'HS256' })
        .setSubject(user)
        .setIssuer(ISSUER)
        .setAudience(AUDIENCE)
        .setExpirationTime(now / 1_000 + 7 * 86_400);
      return [`${user} ${limit}`, await token.sign(secret)];
    }),
  );
  return new Map(await Promise.all(signed));
}
