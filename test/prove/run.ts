import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Policy, type PhaseWindow } from '../../src/sessions/admission.js';
import { freePort } from '../support/redis-server.js';
import { AUDIENCE, Dice, ISSUER, type Target, User } from './clients.js';
import { type Deployment, type ProvedRedis, startDeployment } from './deployments.js';
import { type Durability, type Line, type RunLine } from './history.js';

export interface RunOptions {
  readonly seed: number;
  /** The run ends when so many requests for a phase were admitted. */
  readonly admissions: number;
  readonly users: number;
  readonly instances: number;
  /** Whether instances are killed and connections to Redis are cut. */
  readonly faults: boolean;
  /** How often a fault is the loss of a primary, where one has a replica; from 0 to 1. */
  readonly losses?: number;
  /** Whether every other user breaks connections now and then. */
  readonly cuts: boolean;
  /** The folder of the project, with the built service; its `dist` may be a changed one. */
  readonly folder: string;
  /** Which Redis the instances have; a single server by default. Only others lose a primary. */
  readonly deployment?: Deployment;
  /** ADMIT_DURABILITY; `primary` by default. */
  readonly durability?: Durability;
  readonly write: (line: Line) => void;
  /** Ends the run early. */
  readonly signal?: AbortSignal;
}

const X = 500;
const LONGEST_LEASE_MS = 5_000;

/**
 * X = 0.5 s and n = 4: a session that is silent for 2 s is expired, so that a run of minutes has all of a long one. With
 * failovers n is 20: a session must outlive a failover, or nobody could notice that it was lost.
 */
function policyOf(deployment: Deployment): Policy {
  const expireAfterMs = (deployment === 'server' ? 4 : 20) * X;
  return {
    quota: { maxSessions: 3 },
    idleAfterMs: X,
    expireAfterMs,
    leaseMs: Math.min(LONGEST_LEASE_MS, expireAfterMs),
    maxPauseMs: 2_000,
    maxAheadMs: 2_000,
    pacedAheadMs: 2_000 - 2 * X,
  };
}

/** How many users are active at the same time. */
const ACTIVE = 60;
/** How often a user that breaks connections breaks one. */
const CUTS = 0.15;
const THINGS_A_VISIT = 8;
/** On a machine that is too busy, an instance was seen to read a request 24 s after its client had given up. */
const LATE_MS = 60_000;
/** A command that an instance has given up may wait in a server that is too busy. */
const LATE_AFTER_503_MS = 10_000;
const FAULT_EVERY_MS = 3_000;
const LOSSES = 0.2;
/** For how long a replica may have lacked writes when its primary is lost. */
const LONGEST_BEHIND_MS = 400;
const STREAMS = { film: filmOf(2_000), news: filmOf(40, 300), short: filmOf(3), none: null };

function filmOf(phases: number, lastPhaseMs = X): PhaseWindow {
  return { oldest: 0, end: phases, start: 0, live: false, phaseMs: X, lastPhaseMs };
}

/** Starts a Redis and instances of the service, lets users ask for as long as the options say, and records all. */
export async function record(options: RunOptions): Promise<void> {
  const {
    seed,
    users,
    instances,
    admissions,
    deployment = 'server',
    durability = 'primary',
    write,
  } = options;
  const run: RunLine = {
    type: 'run',
    format: 1,
    seed,
    instances,
    policy: policyOf(deployment),
    streams: STREAMS,
    lateMs: LATE_MS,
    lateAfter503Ms: LATE_AFTER_503_MS,
    durability,
  };
  write(run);
  const redis = await startDeployment(deployment);
  const origin = await mkdtemp(join(tmpdir(), 'streamgate-prove-'));
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
  const secret = randomBytes(32).toString('hex');
  const running: Instance[] = [];
  try {
    await writePlaylists(origin, STREAMS);
    const environment = { ...environmentOf(run.policy, origin, secret), ...redis.environment };
    environment.ADMIT_DURABILITY = durability;
    const ports = await Promise.all(Array.from({ length: instances }, freePort));
    for (const port of ports)
      running.push(new Instance(options.folder, { ...environment, PORT: String(port) }));
    await Promise.all(running.map((instance) => instance.start()));

    const counted = { requests: 0, admitted: 0 };
    const target: Target = {
      urls: ports.map((port) => `http://127.0.0.1:${port}`),
      secret: Buffer.from(secret),
      run,
      record(line) {
        write({ type: 'request', n: counted.requests++, ...line });
        const status = line.reply?.status;
        if (line.ask.do === 'phase' && (status === 200 || status === 201)) counted.admitted++;
      },
    };
    const isOver = (): boolean => counted.admitted >= admissions || options.signal?.aborted === true;
    const breaking = options.faults
      ? breakThings(new Dice(seed ^ 0x5eed), running, redis, options.losses ?? LOSSES, isOver, write)
      : undefined;
    const all = Array.from(
      { length: users },
      (_, at) =>
        new User(`u${at}`, new Dice(seed + at), target, agent, options.cuts && at % 2 === 1 ? CUTS : 0),
    );
    const dice = new Dice(seed ^ 0xac7);
    const free = [...all];
    const act = async (): Promise<void> => {
      while (!isOver()) {
        const [user] = free.splice(dice.below(free.length), 1);
        if (user === undefined) return;
        await user.visit(THINGS_A_VISIT);
        free.push(user);
      }
    };
    await Promise.all(Array.from({ length: Math.min(ACTIVE, users) }, act));
    await breaking;
    await redis.verify();
    write({ type: 'end', requests: counted.requests });
  } finally {
    agent.destroy();
    await Promise.all(running.map((instance) => instance.kill()));
    await redis.stop();
    await rm(origin, { recursive: true, force: true });
  }
}

/** Kills an instance or a primary, or cuts all connections to Redis, again and again. */
async function breakThings(
  dice: Dice,
  instances: readonly Instance[],
  redis: ProvedRedis,
  losses: number,
  isOver: () => boolean,
  write: (line: Line) => void,
): Promise<void> {
  while (!isOver()) {
    await sleep(dice.below(FAULT_EVERY_MS));
    if (redis.pairs > 0 && dice.happens(losses)) {
      const loss = await redis.losePrimary(dice.below(redis.pairs), dice.below(LONGEST_BEHIND_MS));
      write({ type: 'loss', ...loss });
      continue;
    }
    if (dice.happens(0.5)) {
      write({ type: 'fault', at: Date.now(), what: 'Redis connections cut' });
      await redis.cutConnections();
      continue;
    }
    const instance = dice.below(instances.length);
    write({ type: 'fault', at: Date.now(), what: 'instance killed', instance });
    await instances[instance]!.kill();
    await sleep(dice.below(1_000));
    await instances[instance]!.start();
    write({ type: 'fault', at: Date.now(), what: 'instance started', instance });
  }
}

/** The built service in a process of its own, always on the same port. */
class Instance {
  private process: ChildProcess | undefined;

  constructor(
    private readonly folder: string,
    private readonly environment: Record<string, string>,
  ) {}

  async start(): Promise<void> {
    const child = spawn(process.execPath, ['--enable-source-maps', 'dist/main.js'], {
      cwd: this.folder,
      env: { PATH: process.env.PATH ?? '', ...this.environment },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    this.process = child;
    const killed = (): void => void child.kill('SIGKILL');
    process.once('exit', killed);
    child.once('exit', () => process.off('exit', killed));
    const ready = `http://127.0.0.1:${this.environment.PORT}/health/ready`;
    while (
      !(await fetch(ready).then(
        ({ ok }) => ok,
        () => false,
      ))
    ) {
      if (child.exitCode !== null) throw new Error(`an instance ended with ${child.exitCode}`);
      await sleep(50);
    }
  }

  async kill(): Promise<void> {
    const child = this.process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
}

function environmentOf(policy: Policy, origin: string, secret: string): Record<string, string> {
  return {
    HOST: '127.0.0.1',
    STREAM_ORIGIN: origin,
    PHASE_SECONDS: String(X / 1_000),
    IDLE_PHASES: String(policy.expireAfterMs / X),
    MAX_PAUSE_SECONDS: String(policy.maxPauseMs / 1_000),
    MAX_AHEAD_SECONDS: String(policy.maxAheadMs / 1_000),
    AUTH_MODE: 'jwt',
    AUTH_JWT_SECRET: secret,
    AUTH_ISSUER: ISSUER,
    AUTH_AUDIENCE: AUDIENCE,
    // Until it has asked Redis, a new instance would write layout 1, which does not know how much is left to play.
    STORE_LAYOUT: '2',
    RATE_LIMIT_PER_USER: '0',
    RATE_LIMIT_PER_ADDRESS: '0',
    LOG_LEVEL: 'fatal',
    LOG_FORMAT: 'json',
  };
}

/** Writes playlists, and no media: no client loads it. */
export async function writePlaylists(origin: string, streams: RunLine['streams']): Promise<void> {
  for (const [name, window] of Object.entries(streams)) {
    if (window === null) continue;
    const durations = Array.from({ length: window.end }, (_, at) =>
      at === window.end - 1 ? window.lastPhaseMs : window.phaseMs,
    );
    const segments = durations.map((ms, at) => `#EXTINF:${ms / 1_000},\n${at}.ts`);
    const head = `#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:${Math.ceil(window.phaseMs / 1_000)}\n#EXT-X-PLAYLIST-TYPE:VOD`;
    await mkdir(join(origin, name));
    await writeFile(join(origin, name, 'index.m3u8'), `${head}\n${segments.join('\n')}\n#EXT-X-ENDLIST\n`);
  }
}
