import { setTimeout as sleep } from 'node:timers/promises';
import { isIP } from 'node:net';
import rateLimit, {
  type FastifyRateLimitStore,
  type FastifyRateLimitStoreCtor,
  normalizeIP,
} from '@fastify/rate-limit';
import { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import { type Counter } from 'prom-client';
import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { type Metrics } from '../observability/metrics.js';
import { Problem } from './problem.js';

const WINDOW_MS = 1_000;
const IPV4 = /^[\d.]+$/;
/** A tenth of a limit is what an instance lets a key ask before it speaks of it to the others, and between two words. */
const SHARES = 10;
/**
 * A refusal is held back for so long. It costs nearly as much as an answer; who asks again at each, on however many
 * connections, is thereby down from thousands a second to ten on each connection, and others do not wait behind it.
 */
const HOLD_MS = 100;
/** What probes, monitoring and operators ask, who must get through when nobody else does. */
const UNLIMITED = /^\/(health|internal)\/|^\/metrics$/;

/** Sums what all instances count. */
export abstract class RateTally {
  /** Adds to a count and gives the sum; undefined where nobody can tell. Never rejects. */
  abstract add(key: string, count: number): Promise<number | undefined>;
}

/** How often one key asked within the current second. */
interface Count {
  /** Of this instance. */
  own: number;
  /** How many of these the others were told of. */
  told: number;
  /** What the others had told by then. */
  others: number;
  telling: boolean;
}

type Name = 'user' | 'address';

/**
 * How often each user or address may ask in a second. Whoever asks less than a tenth of the limit, as every viewer does, is
 * counted in memory and no more. Beyond, @fastify/rate-limit takes over with this as its store: headers, and the refusal.
 * It would cost every request half a microsecond, which is why it does not see them all.
 *
 * The others are told in steps of a tenth of the limit, and nobody waits for what they say: a Redis that is slow delays
 * no request, and one that is away leaves each instance with its own count. So the sum of all instances is off by a tenth
 * of the limit for each of them, at most.
 */
class RateLimit implements FastifyRateLimitStore {
  private readonly share: number;
  /** One for all: to make an error costs more than to answer. */
  private readonly problem: Problem;
  /** Forgotten whole with the second, so that it never holds more than what can be asked in one. */
  private counts = new Map<string, Count>();
  private second = 0;
  private readonly keys = new WeakMap<FastifyRequest, string>();
  private handler: ReturnType<FastifyInstance['rateLimit']>;

  constructor(
    private readonly name: Name,
    private readonly limit: number,
    private readonly clock: Clock,
    private readonly tally: RateTally | undefined,
  ) {
    this.share = Math.floor(limit / SHARES);
    this.problem = new Problem(
      'rate-limited',
      `Ask again after the time in Retry-After, and then less often: one ${name} may ask ${limit} times a second.`,
    );
  }

  /** Each limit is in a scope of its own: the plugin looks at a request once, and some requests have two limits. */
  async register(fastify: FastifyInstance, refusals: Counter<'limit'>): Promise<void> {
    refusals.inc({ limit: this.name }, 0);
    await fastify.register(async (scope) => {
      await scope.register(rateLimit, {
        global: false,
        enableDraftSpec: true,
        max: this.limit,
        timeWindow: WINDOW_MS,
        store: makes(this),
        keyGenerator: (request) => this.keys.get(request)!,
        onExceeded: () => {
          refusals.inc({ limit: this.name });
        },
        errorResponseBuilder: () => this.problem,
      });
      this.handler = scope.rateLimit();
    });
  }

  /** Counts a request; rejects with a problem where it is one too many. Undefined, which costs no turn, where it is not. */
  check(key: string, request: FastifyRequest, reply: FastifyReply): Promise<unknown> | undefined {
    if (this.limit === 0) return undefined;
    const count = this.countOf(key);
    if (count.own < this.share) {
      count.own++;
      return undefined;
    }
    this.keys.set(request, key);
    return holdBack(this.handler.call(request.server, request, reply));
  }

  /** Whether this is the first request of a key in this second, as far as this instance knows; counts it if so. */
  isFirst(key: string): boolean {
    const count = this.countOf(key);
    if (count.own > 0) return false;
    count.own++;
    return true;
  }

  incr(key: string, done: Parameters<FastifyRateLimitStore['incr']>[1]): void {
    const count = this.countOf(key);
    count.own++;
    void this.tell(key, count);
    done(null, { current: count.own + count.others, ttl: WINDOW_MS - (this.clock.now() % WINDOW_MS) });
  }

  child(): this {
    return this;
  }

  private countOf(key: string): Count {
    const second = Math.floor(this.clock.now() / WINDOW_MS);
    if (second !== this.second) {
      this.second = second;
      this.counts = new Map();
    }
    let count = this.counts.get(key);
    if (count === undefined) this.counts.set(key, (count = { own: 0, told: 0, others: 0, telling: false }));
    return count;
  }

  private async tell(key: string, count: Count): Promise<void> {
    const untold = count.own - count.told;
    if (this.tally === undefined || count.telling || untold < this.share) return;
    // Who is refused here for the rest of the second was told of often enough to be refused elsewhere.
    if (count.own + count.others > this.limit) return;
    count.telling = true;
    count.told += untold;
    // By the second of this machine: where clocks differ, one who goes on asking meets the same sum in each second.
    const sum = await this.tally.add(`${this.name}:${key}:${this.second}`, untold);
    if (sum !== undefined) count.others = sum - count.told;
    count.telling = false;
  }
}

/** The plugin makes its store by `new`; it gets the one that there is. */
function makes(store: FastifyRateLimitStore): FastifyRateLimitStoreCtor {
  return function constructor() {
    return store;
  } as unknown as FastifyRateLimitStoreCtor;
}

/** The limits on asking: per address before anything of a request is read, per user as soon as the user is known. */
export class RateLimits {
  private readonly user: RateLimit;
  private readonly address: RateLimit;
  /** The sessions that this instance admitted lately, about 200 bytes each. */
  private readonly admitted = new LRUCache<string, true>({ max: 50_000 });
  /** A host has 2^64 addresses of IPv6 to ask from: its network counts. To find that takes longer than to remember it. */
  private readonly networks = new LRUCache<string, string>({
    max: 10_000,
    memoMethod: (text) => {
      // Some proxies write the port too. What is no address is one for all who are told by none.
      const ip = text.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1');
      return isIP(ip) === 0 ? '' : normalizeIP(ip);
    },
  });

  /** Without a `tally`, each instance counts alone. */
  constructor(config: Config, clock: Clock, tally?: RateTally) {
    this.user = new RateLimit('user', config.RATE_LIMIT_PER_USER, clock, tally);
    this.address = new RateLimit('address', config.RATE_LIMIT_PER_ADDRESS, clock, tally);
  }

  async register(fastify: FastifyInstance, metrics: Metrics): Promise<void> {
    const refusals = metrics.counter(
      'rate_limited_total',
      'Requests that this instance refused because one user or address asked too often.',
      ['limit'],
    );
    await this.user.register(fastify, refusals);
    await this.address.register(fastify, refusals);
    fastify.addHook('onRequest', (request, reply, done) => {
      const exceeded = UNLIMITED.test(request.routeOptions.url ?? '')
        ? undefined
        : this.ofAddress(request, reply);
      if (exceeded === undefined) done();
      else void finish(exceeded, done);
    });
  }

  /**
   * Counts a request of an owner. Call it when the user is known and the request is valid; rejects with a problem if the
   * user asks too often, and is undefined for clients far below the limit. Requests that end sessions have a budget of
   * their own, so that a client in a loop cannot keep its owner from ending it.
   */
  ofUser(
    request: FastifyRequest,
    reply: FastifyReply,
    userId: string,
    budget: 'reads' | 'ends' = 'reads',
  ): Promise<unknown> | undefined {
    return this.user.check(budget === 'reads' ? userId : `${userId}/ends`, request, reply);
  }

  /**
   * Counts a request of a session, as `ofUser`. Each session has a budget of its own: one client in a loop costs the other
   * sessions of its user nothing. Ids that were not admitted lately share a second budget, by their first request in each
   * second, so that made-up ids are bounded too. `sessionId` undefined asks for a new session.
   */
  ofSession(
    request: FastifyRequest,
    reply: FastifyReply,
    userId: string,
    sessionId: string | undefined,
  ): Promise<unknown> | undefined {
    const key = `${userId}/sessions/${sessionId ?? ''}`;
    const isNew = sessionId === undefined || (!this.admitted.has(key) && this.user.isFirst(key));
    return this.user.check(isNew ? `${userId}/new` : key, request, reply);
  }

  /** The session was admitted: its requests are not counted with those of new ids. */
  noteAdmitted(userId: string, sessionId: string): void {
    this.admitted.set(`${userId}/sessions/${sessionId}`, true);
  }

  private ofAddress(request: FastifyRequest, reply: FastifyReply): Promise<unknown> | undefined {
    const { ip } = request;
    return this.address.check(IPV4.test(ip) ? ip : this.networks.memo(ip), request, reply);
  }
}

async function holdBack(asked: Promise<unknown>): Promise<void> {
  try {
    await asked;
  } catch (refusal) {
    await sleep(HOLD_MS, undefined, { ref: false });
    throw refusal;
  }
}

async function finish(work: Promise<unknown>, done: (error?: Error) => void): Promise<void> {
  done(
    await work.then(
      () => undefined,
      (error: Error) => error,
    ),
  );
}
