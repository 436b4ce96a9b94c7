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
/** An instance reports its count of a key to the other instances in steps of a tenth of the limit. */
const SHARES = 10;
/**
 * The delay of a refusal. A refusal costs nearly as much as an answer. The delay brings a client in a loop down from
 * thousands of requests a second to ten on each connection, so that other clients do not wait behind it.
 */
const HOLD_MS = 100;
/** Routes of probes, monitoring and operators, which must be answered even when clients are refused. */
const UNLIMITED = /^\/(health|internal)\/|^\/metrics$/;

/** Adds up the counts of all instances. */
export abstract class RateTally {
  /** Adds to a count and returns the sum of all instances, or undefined if the store cannot be asked. Never rejects. */
  abstract add(key: string, count: number): Promise<number | undefined>;
}

/** The number of requests of one key within the current second. */
interface Count {
  /** Requests that this instance counted. */
  own: number;
  /** How many of `own` were reported to the other instances. */
  reported: number;
  /** Requests that the other instances had counted at the last report. */
  others: number;
  isReporting: boolean;
}

type Name = 'user' | 'address';

/**
 * Limits the requests of each user or address in a second. Up to a tenth of the limit, which no ordinary viewer exceeds,
 * requests are only counted in memory. Above that, @fastify/rate-limit takes over with this class as its store: it writes
 * the headers and refuses. It does not see every request, because that would cost each one half a microsecond.
 *
 * The instance reports its count to the other instances in steps of a tenth of the limit, and no request waits for the
 * reply. So a slow Redis delays no request, and without Redis each instance goes by its own count. The sum of all
 * instances is off by at most a tenth of the limit for each instance.
 */
class RateLimit implements FastifyRateLimitStore {
  private readonly share: number;
  /** One object for all refusals, because creating an error costs more than an answer. */
  private readonly problem: Problem;
  /** Dropped as a whole when the second ends, so that it never holds more keys than one second's requests. */
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

  /** Each limit has a scope of its own, because the plugin checks a request once and some requests have two limits. */
  async register(fastify: FastifyInstance, refusals: Counter<'limit'>): Promise<void> {
    refusals.inc({ limit: this.name }, 0);
    await fastify.register(async (scope) => {
      await scope.register(rateLimit, {
        global: false,
        enableDraftSpec: true,
        max: this.limit,
        timeWindow: WINDOW_MS,
        store: storeConstructorOf(this),
        keyGenerator: (request) => this.keys.get(request)!,
        onExceeded: () => {
          refusals.inc({ limit: this.name });
        },
        errorResponseBuilder: () => this.problem,
      });
      this.handler = scope.rateLimit();
    });
  }

  /** Counts a request. Rejects with a problem if it exceeds the limit. Undefined, which costs no turn, far below the limit. */
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

  /** Whether this key has used a tenth of the limit in this second. */
  isBusy(key: string): boolean {
    return this.limit !== 0 && this.countOf(key).own >= Math.max(1, this.share);
  }

  incr(key: string, done: Parameters<FastifyRateLimitStore['incr']>[1]): void {
    const count = this.countOf(key);
    count.own++;
    void this.report(key, count);
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
    if (count === undefined)
      this.counts.set(key, (count = { own: 0, reported: 0, others: 0, isReporting: false }));
    return count;
  }

  private async report(key: string, count: Count): Promise<void> {
    const unreported = count.own - count.reported;
    if (this.tally === undefined || count.isReporting || unreported < this.share) return;
    // This instance refuses the key for the rest of the second. Its earlier reports already count against the limit elsewhere.
    if (count.own + count.others > this.limit) return;
    count.isReporting = true;
    count.reported += unreported;
    // The key has this machine's second. Where clocks differ, a client that keeps asking meets the same sum in each second.
    const sum = await this.tally.add(`${this.name}:${key}:${this.second}`, unreported);
    // A sum that expired in the store, because this second lasts longer here, must not make the limit larger.
    if (sum !== undefined) count.others = Math.max(0, sum - count.reported);
    count.isReporting = false;
  }
}

/** The plugin creates its store by `new`. This constructor returns the existing one. */
function storeConstructorOf(store: FastifyRateLimitStore): FastifyRateLimitStoreCtor {
  return function constructor() {
    return store;
  } as unknown as FastifyRateLimitStoreCtor;
}

/**
 * Limits the requests of one session. Each session has a budget of its own: one client in a loop costs the other sessions
 * of its user nothing. Ids that were not admitted lately share a second budget, by their first request in each second, so
 * that made-up ids are bounded too.
 */
export class SessionBudget {
  private isAdmitted = false;

  constructor(
    private readonly limit: RateLimit,
    private readonly admitted: LRUCache<string, SessionBudget>,
    private readonly userId: string,
    private readonly key: string,
    private readonly sessionId: string | undefined,
  ) {}

  /** Counts a request of the session, as `ofUser`. */
  check(request: FastifyRequest, reply: FastifyReply): Promise<unknown> | undefined {
    const isNew = !this.isAdmitted && (this.sessionId === undefined || this.limit.isFirst(this.key));
    return this.limit.check(isNew ? `${this.userId}/new` : this.key, request, reply);
  }

  /** The session was admitted, with this id: from now on its requests are not counted with those of new ids. */
  noteAdmitted(sessionId: string): void {
    if (this.isAdmitted) return;
    const key = sessionKey(this.userId, sessionId);
    const budget = new SessionBudget(this.limit, this.admitted, this.userId, key, sessionId);
    budget.isAdmitted = true;
    this.admitted.set(key, budget);
  }
}

function sessionKey(userId: string, sessionId: string): string {
  return `${userId}/sessions/${sessionId}`;
}

/** The rate limits: per address before the request is read, and per user as soon as the user is known. */
export class RateLimits {
  private readonly user: RateLimit;
  private readonly address: RateLimit;
  /** The budgets of sessions that this instance admitted lately, about 300 bytes each. */
  private readonly admitted = new LRUCache<string, SessionBudget>({ max: 50_000 });
  /** A host can use 2^64 IPv6 addresses, so its network is counted. Parsing an address takes longer than this cache. */
  private readonly networks = new LRUCache<string, string>({
    max: 10_000,
    memoMethod: (text) => {
      // Some proxies add the port. All requests without a valid address share one budget.
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
    // The limit of a user counts valid requests of known callers only. The delay keeps a client that repeats other ones, on
    // a few connections, from using up the limit of its address, which the other clients of a household share.
    fastify.addHook('onSend', (request, reply, payload, done) => {
      const { statusCode } = reply;
      const isCounted = request.caller !== null && statusCode !== 422;
      const isRefused = statusCode >= 400 && statusCode < 500 && statusCode !== 429;
      const isExempt = !isRefused || isCounted || UNLIMITED.test(request.routeOptions.url ?? '');
      if (isExempt || !this.address.isBusy(this.networkOf(request))) done(null, payload);
      else setTimeout(done, HOLD_MS, null, payload);
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

  /** What a session may request. `sessionId` undefined: the request asks for a new session. */
  ofSession(userId: string, sessionId: string | undefined): SessionBudget {
    const key = sessionKey(userId, sessionId ?? '');
    return this.admitted.get(key) ?? new SessionBudget(this.user, this.admitted, userId, key, sessionId);
  }

  private ofAddress(request: FastifyRequest, reply: FastifyReply): Promise<unknown> | undefined {
    return this.address.check(this.networkOf(request), request, reply);
  }

  private networkOf(request: FastifyRequest): string {
    // A connection that its client has reset has no address any more.
    const { ip = '' } = request as { readonly ip?: string };
    return IPV4.test(ip) ? ip : this.networks.memo(ip);
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
