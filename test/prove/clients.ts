import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { SignJWT } from 'jose';
import { type Device } from '../../src/sessions/device.js';
import { decidedAt } from './answers.js';
import { type Question, type Reply, type RequestLine, type RunLine, bodyOf } from './history.js';

const SESSIONS = ['a', 'b', 'c', 'd', 'e', 'f'];
const DEVICES: readonly Device[] = [
  { id: 'tv', name: 'Living-room TV', type: 'tv' },
  { id: 'tv' },
  { id: 'phone', type: 'phone' },
  { id: 'web', shared: true },
];
const PLANS = [1, 2, 3, 3, 4];
/** How long a client waits for a reply. */
const PATIENCE_MS = 20_000;
export const ISSUER = 'https://id.example';
export const AUDIENCE = 'streamgate';

/** Random numbers from a seed (mulberry32): the same seed asks the same, but the machine decides when. */
export class Dice {
  constructor(private state: number) {}

  /** From 0 to below 1. */
  roll(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number below `end`. */
  below(end: number): number {
    return Math.floor(this.roll() * end);
  }

  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  happens(probability: number): boolean {
    return this.roll() < probability;
  }
}

/** When a client breaks the connection: some milliseconds after it sent, or at the head of the reply. */
type Cut = number | 'head';

export interface Target {
  /** The addresses of the instances. */
  readonly urls: readonly string[];
  readonly secret: Uint8Array;
  readonly run: RunLine;
  readonly record: (line: Omit<RequestLine, 'n' | 'type'>) => void;
}

/** One user with several players, which know no more than their replies say. */
export class User {
  private plan: number;
  /** When a place will be free, by the last refusal. */
  private freeAt = 0;
  private readonly tokens = new Map<number, Promise<string>>();

  constructor(
    private readonly name: string,
    private readonly dice: Dice,
    private readonly target: Target,
    private readonly agent: Agent,
    /** How often it breaks a connection. */
    private readonly cuts: number,
  ) {
    this.plan = dice.of(PLANS);
  }

  /** Does so many random things one after the other, some of which are several requests at once. */
  async visit(things: number): Promise<void> {
    if (this.dice.happens(0.1)) this.plan = this.dice.of(PLANS);
    for (let done = 0; done < things; done++) await this.doSomething();
  }

  private async doSomething(): Promise<void> {
    const { dice } = this;
    const { policy } = this.target.run;
    const at = dice.roll();
    if (at < 0.35) await this.atOnce(2 + dice.below(5), () => this.phase());
    else if (at < 0.6) await this.atOnce(1, () => this.phase());
    else if (at < 0.75) await this.atOnce(2 + dice.below(3), () => this.anything());
    else if (at < 0.84) await sleep(dice.below(policy.idleAfterMs));
    else if (at < 0.95) await this.atTheEdge();
    else await sleep(policy.expireAfterMs - 20 + dice.below(policy.idleAfterMs));
  }

  /** Asks again and again around the instant at which a place is free, one request a millisecond. */
  private async atTheEdge(): Promise<void> {
    const wait = this.freeAt - Date.now() - 4;
    if (wait < 0 || wait > 2 * this.target.run.policy.expireAfterMs) return;
    await sleep(wait);
    const asked: Promise<void>[] = [];
    for (let n = 0; n < 6; n++) {
      asked.push(this.atOnce(1, () => this.phase(false)));
      await sleep(1);
    }
    await Promise.all(asked);
  }

  private async atOnce(count: number, question: () => Question): Promise<void> {
    const asked = Array.from({ length: count }, question).map(async (ask) => {
      const cut = this.dice.happens(this.cuts)
        ? this.dice.happens(0.3)
          ? 'head'
          : this.dice.below(6)
        : undefined;
      await this.ask(ask, this.dice.below(this.target.urls.length), cut);
    });
    await Promise.all(asked);
  }

  private phase(canEnd = true): Question {
    const { dice } = this;
    const limit = this.plan;
    const device = dice.happens(0.25) ? dice.of(DEVICES) : undefined;
    const endSessions = canEnd && dice.happens(0.1) ? SESSIONS.filter(() => dice.happens(0.4)) : undefined;
    const phase = dice.happens(0.2) ? dice.below(12) : undefined;
    const stream = dice.happens(0.85) ? 'film' : dice.of(['news', 'short', 'none']);
    return {
      do: 'phase',
      session: dice.of(SESSIONS),
      stream,
      limit,
      ...(phase === undefined ? {} : { phase }),
      ...(endSessions === undefined ? {} : { endSessions }),
      ...(device === undefined ? {} : { device }),
    };
  }

  private anything(): Question {
    const { dice } = this;
    const session = dice.of(SESSIONS);
    const limit = this.plan;
    const at = dice.roll();
    if (at < 0.4) return this.phase();
    if (at < 0.6) return { do: 'keepalive', session, limit };
    if (at < 0.75) return { do: 'list', limit };
    const reason = dice.happens(0.5) ? 'left' : 'user';
    return at < 0.95 ? { do: 'end', session, reason, limit } : { do: 'end', reason: 'user', limit };
  }

  private async ask(ask: Question, instance: number, cut: Cut | undefined): Promise<void> {
    const token = await this.token(ask.limit);
    const sent = Date.now();
    const { notSent, reply } = await exchange(
      this.target.urls[instance]!,
      this.name,
      token,
      ask,
      cut,
      this.agent,
    );
    if (notSent) return sleep(20);
    const received = Date.now();
    const line = { user: this.name, instance, sent, received, ask };
    this.target.record(reply === undefined ? line : { ...line, reply });
    if (reply?.status === 409)
      this.freeAt = decidedAt(ask, reply)! + (reply.body?.retry_after_seconds ?? 0) * 1_000;
    // As Retry-After says.
    if (reply?.status === 503) await sleep(1_000);
  }

  private token(limit: number): Promise<string> {
    const signed =
      this.tokens.get(limit) ??
      new SignJWT({ max_sessions: limit })
        .setProtectedHeader({ alg: 'HS256' })
        .setSubject(this.name)
        .setIssuer(ISSUER)
        .setAudience(AUDIENCE)
        .setExpirationTime('12h')
        .sign(this.target.secret);
    this.tokens.set(limit, signed);
    return signed;
  }
}

/** What the API calls a question. */
interface Sent {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: object;
}

export function sentFor(user: string, ask: Question): Sent {
  const sessions = `/v1/users/${user}/sessions`;
  switch (ask.do) {
    case 'phase': {
      const { session, stream, phase, endSessions, device } = ask;
      const body = { session_id: session, stream_id: stream, phase, end_session_ids: endSessions, device };
      return { method: 'POST', path: '/v1/phases', body };
    }
    case 'keepalive':
      return { method: 'POST', path: `${sessions}/${ask.session}/keepalive` };
    case 'list':
      return { method: 'GET', path: sessions };
    case 'end': {
      const one = ask.session === undefined ? '' : `/${ask.session}?reason=${ask.reason}`;
      return { method: 'DELETE', path: sessions + one };
    }
  }
}

/** Sends a request. `notSent`: no instance listened, so that it certainly had no effect. */
async function exchange(
  url: string,
  user: string,
  token: string,
  ask: Question,
  cut: Cut | undefined,
  agent: Agent,
): Promise<{ notSent?: true; reply?: Reply }> {
  const { method, path, body } = sentFor(user, ask);
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve) => {
    const sending = request(url + path, {
      method,
      agent,
      timeout: PATIENCE_MS,
      headers: {
        authorization: `Bearer ${token}`,
        ...(text === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
      },
    });
    sending.on('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'ECONNREFUSED' ? { notSent: true } : {});
    });
    sending.on('timeout', () => sending.destroy());
    sending.on('close', () => {
      resolve({});
    });
    sending.on('response', (response) => {
      if (cut === 'head') return sending.destroy();
      let json = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (json += chunk));
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        resolve({ reply: json === '' ? { status } : { status, body: bodyOf(JSON.parse(json)) } });
      });
    });
    sending.end(text);
    if (typeof cut === 'number') setTimeout(() => sending.destroy(), cut);
  });
}
