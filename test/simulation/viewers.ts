import { type Device } from '../../src/sessions/device.js';
import { sentFor } from '../prove/clients.js';
import {
  type Observed,
  type Question,
  type RequestLine,
  type RunLine,
  type SessionBody,
  bodyOf,
} from '../prove/history.js';
import { SETTLED_MS, type SimulatedNetwork, isDuring } from './network.js';
import { type World } from './world.js';

const SESSIONS = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const DEVICES: readonly (Device | undefined)[] = [
  ...Array.from({ length: 6 }, () => undefined),
  { id: 'tv', name: 'Living-room TV', type: 'tv' },
  { id: 'phone', type: 'phone' },
  { id: 'web', shared: true },
];
export const PLANS = [1, 2, 3, 4];
/** How often users do things, in milliseconds on average. */
const OPERATOR_EVERY_MS = 20_000;
const BREAK_MS = 120_000;
const STATUSES: ReadonlySet<number> = new Set([200, 201, 204, 404, 409, 410, 429, 503]);

/** A reply that gave a place to a session, as the service sent it. */
export interface Admitted {
  readonly line: RequestLine;
  readonly session: SessionBody;
  /** Whether the service handed over the whole reply. */
  readonly isWhole: boolean;
  /** Whether it was given without the store. */
  readonly isDegraded: boolean;
}

type Answer = RequestLine['reply'];

/** Everybody who asks the service. */
export class Viewers {
  private readonly asked: {
    readonly id: string;
    readonly line: RequestLine;
    readonly isDelivered: boolean;
  }[] = [];
  readonly admitted: Admitted[] = [];
  /** Replies of a status that none of these requests can get, and places that were settled in the wrong way. */
  readonly unexpected: string[] = [];
  isOver = false;

  constructor(
    private readonly world: World,
    private readonly network: SimulatedNetwork,
    private readonly run: RunLine,
    private readonly tokenOf: (user: string, limit: number) => string,
    private readonly operatorToken: string,
  ) {}

  /**
   * The history, with the instants at which the store took the requests. A request that it did not take had no effect, and
   * is left out. A reply counts only if the store answered.
   */
  history({ takenAt, settled, unanswered, storeOutages }: SimulatedNetwork): RequestLine[] {
    return this.asked
      .flatMap(({ id, line: { reply, ...line }, isDelivered }) => {
        const at = takenAt.get(id);
        if (at === undefined) return [];
        const known = reply === undefined || unanswered.has(id) ? {} : { reply };
        const done = settled.get(id);
        const by = done?.at ?? Math.max(at, line.received) + SETTLED_MS;
        const verb = isDelivered ? 'confirm' : 'withdraw';
        if (done !== undefined && done.verb !== verb)
          this.unexpected.push(`${done.verb}, not ${verb}, of ${JSON.stringify(line.ask)}`);
        const observed: Observed = {
          settles: unanswered.has(id) ? 'never' : verb,
          from: done?.at ?? at,
          ...(isDuring(storeOutages, at, by) ? {} : { by }),
        };
        return { ...line, sent: at, received: at, observed, ...known };
      })
      .map((line, n) => ({ ...line, n }));
  }

  /** Lets users with some screens each watch, and operators act, until `isOver`. */
  start(users: readonly string[]): void {
    const { dice } = this.world;
    for (const name of users) {
      const user = { name, plan: dice.of(PLANS) };
      const screens = 1 + dice.below(user.plan + 2);
      for (let screen = 0; screen < screens; screen++) void this.watch(user, dice.of(DEVICES));
    }
    void this.operate(users);
  }

  private async watch(user: { name: string; plan: number }, device: Device | undefined): Promise<void> {
    const { dice } = this.world;
    await this.wait(dice.below(BREAK_MS / 4));
    while (!this.isOver) {
      if (dice.happens(0.05)) user.plan = dice.of(PLANS);
      if (dice.happens(0.1)) await this.ask(user.name, { do: 'list', limit: user.plan });
      await this.play(user, dice.of(SESSIONS), device);
      await this.wait(dice.happens(0.1) ? dice.below(4 * BREAK_MS) : dice.below(BREAK_MS / 4));
    }
  }

  /** Plays a session until its player quits, is told to, or gives up. */
  private async play(
    { name, plan: limit }: { name: string; plan: number },
    session: string,
    device: Device | undefined,
  ): Promise<void> {
    const { dice } = this.world;
    const { idleAfterMs: x } = this.run.policy;
    let stream = this.anyStream();
    let endSessions: readonly string[] | undefined;
    for (let left = 1 + dice.below(40), tries = 6; left > 0 && tries > 0 && !this.isOver;) {
      const phase = dice.happens(0.06) ? this.anyPhase(stream) : undefined;
      const question: Question = {
        do: 'phase',
        session,
        stream,
        limit,
        ...(phase === undefined ? {} : { phase }),
        ...(endSessions === undefined ? {} : { endSessions }),
        ...(device === undefined ? {} : { device }),
      };
      endSessions = undefined;
      const asked = this.ask(name, question);
      // A client that repeats a request before it has the reply.
      if (dice.happens(0.02)) await this.ask(name, question);
      const reply = await asked;
      switch (reply?.status) {
        case 200:
        case 201:
          left--;
          tries = 6;
          await this.afterPhase(name, limit, session, reply.body?.session);
          if (dice.happens(0.03)) stream = this.anyStream();
          break;
        case undefined:
        case 503:
          tries--;
          await this.wait(dice.below(2_000));
          break;
        case 409:
        case 429:
          tries -= 2;
          if (reply.status === 409 && dice.happens(0.3)) {
            endSessions = SESSIONS.filter(() => dice.happens(0.3));
            break;
          }
          // Some ask again in the very millisecond in which a place is free.
          await this.wait(
            (reply.body?.retry_after_seconds ?? 0) * 1_000 -
              (dice.happens(0.5) ? dice.below(12) : -dice.below(x)),
          );
          break;
        default:
          return;
      }
    }
    const at = dice.roll();
    if (at < 0.5) await this.ask(name, { do: 'end', session, reason: 'left', limit });
    else if (at < 0.65) await this.ask(name, { do: 'end', session, reason: 'user', limit });
    else if (at < 0.68) await this.ask(name, { do: 'end', reason: 'user', limit });
  }

  /** Waits for about X, as players do; or pauses; or is silent until its session is idle, or about to expire. */
  private async afterPhase(
    name: string,
    limit: number,
    session: string,
    got: SessionBody | undefined,
  ): Promise<void> {
    const { dice } = this.world;
    const { idleAfterMs: x } = this.run.policy;
    const at = dice.roll();
    if (at < 0.04) {
      for (let beats = 1 + dice.below(16); beats > 0 && !this.isOver; beats--) {
        await this.wait(x * (0.5 + 0.5 * dice.roll()));
        const reply = await this.ask(name, { do: 'keepalive', session, limit });
        if (reply?.status !== 200 && reply !== undefined) return;
      }
    } else if (at < 0.06 && got !== undefined)
      await this.wait(Date.parse(got.expires_at) - this.world.now() + dice.below(60) - 50);
    else if (at < 0.08) await this.wait(dice.below(5 * x));
    else if (at < 0.12) await this.wait(dice.below(1_000));
    else await this.wait(x * (0.85 + 0.2 * dice.roll()));
  }

  /** Operators end sessions, sweep, and pause the sweeps for a while. */
  private async operate(users: readonly string[]): Promise<void> {
    const { dice } = this.world;
    while (!this.isOver) {
      await this.wait(dice.below(2 * OPERATOR_EVERY_MS));
      const at = dice.roll();
      const [user, reason] = [dice.of(users), 'operator'] as const;
      if (at < 0.5) await this.ask(user, { do: 'end', session: dice.of(SESSIONS), reason, limit: 1 });
      else if (at < 0.6) await this.ask(user, { do: 'end', reason, limit: 1 });
      else if (at < 0.95) await this.command('/internal/expire-idle-sessions');
      else {
        await this.command('/internal/expiry/pause');
        await this.wait(dice.below(60_000));
        await this.resumeSweeps();
      }
    }
  }

  /** Repeats it until it is done. */
  async resumeSweeps(): Promise<void> {
    while ((await this.command('/internal/expiry/resume')) !== 200) await this.world.sleep(1_000);
  }

  private async command(path: string): Promise<number | undefined> {
    const sent = { method: 'POST', path, token: this.operatorToken };
    return (await this.network.exchange(sent)).reply?.status;
  }

  private async ask(user: string, ask: Question): Promise<Answer> {
    const sent = this.world.now();
    const byOperator = ask.do === 'end' && ask.reason === 'operator';
    const { path, ...request } = sentFor(user, ask);
    const { id, reply, delivered } = await this.network.exchange({
      ...request,
      path: byOperator ? path.split('?')[0]! : path,
      token: byOperator ? this.operatorToken : this.tokenOf(user, ask.limit),
    });
    const json = delivered?.json as { session?: SessionBody; degraded?: boolean } | undefined;
    const line: RequestLine = {
      type: 'request',
      n: 0,
      user,
      instance: 0,
      sent,
      received: this.world.now(),
      ask,
      ...(reply && {
        reply: { status: reply.status, ...(reply.json === undefined ? {} : { body: bodyOf(reply.json) }) },
      }),
    };
    this.asked.push({ id, line, isDelivered: delivered !== undefined && delivered.status < 400 });
    if (reply && !STATUSES.has(reply.status))
      this.unexpected.push(`${reply.status} to ${JSON.stringify(line.ask)}`);
    if (ask.do === 'phase' && json?.session !== undefined)
      this.admitted.push({
        line,
        session: json.session,
        isWhole: delivered !== undefined,
        isDegraded: json.degraded === true,
      });
    return line.reply;
  }

  private async wait(ms: number): Promise<void> {
    await this.world.sleep(Math.max(1, ms));
  }

  private anyStream(): string {
    const { dice } = this.world;
    return dice.happens(0.8) ? 'film' : dice.of(['news', 'short', 'none']);
  }

  private anyPhase(stream: string): number {
    return this.world.dice.below((this.run.streams[stream]?.end ?? 1) + 1);
  }
}
