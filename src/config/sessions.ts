import { IsIn, IsOptional, ValidateIf } from 'class-validator';
import { type Policy } from '../sessions/admission.js';
import { Decimal, List, Satisfies, WholeNumber, isUrl } from './checks.js';
import { type StreamsSection } from './streams.js';
import { Section, Variable, isProduction } from './variable.js';

/** The lease: how long a new session holds its place while its first phase is being delivered. */
const LEASE_MS = 5_000;

/** The Redis Sentinels that know which server is the primary. */
export interface Sentinels {
  /** `host:port` of each. */
  readonly addresses: readonly string[];
  /** The name by which they know the primary. */
  readonly master: string;
  readonly password: string | undefined;
}

/** A Redis server, and the ACL user that this service is there. */
export interface RedisEndpoint {
  /** Without credentials. */
  readonly url: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Whether the server is a node of a Redis Cluster. */
  readonly isCluster?: boolean;
  /** If they are given, the host of the URL is not used. */
  readonly sentinels?: Sentinels | undefined;
  /** Whether new sessions wait for a replica. */
  readonly awaitsReplica?: boolean | undefined;
}

/** The limit, the times of sessions, and the store. */
export class SessionsSection extends Section {
  static readonly title = 'Sessions and their store';

  @Variable(
    { meaning: 'the limit: sessions that a user may hold at the same time', default: '3', shared: true },
    WholeNumber(1, 1_000),
  )
  readonly MAX_SESSIONS_PER_USER: number;

  @Variable(
    {
      meaning:
        'X, the duration of a phase: 0.2 or more, fractions allowed; 2 or more with `secure-link` and `cloudfront`',
      default: '10',
      shared: true,
    },
    Decimal(
      'must be a number of seconds from 0.2 to 3600, to the millisecond',
      (value) => value >= 0.2 && value <= 3_600 && Number.isInteger(Math.round(value * 1e6) / 1e3),
    ),
    Satisfies(
      'must be at least 2 with secure-link and cloudfront: their URLs end on whole seconds',
      (value, config: StreamsSection) => !config.signsForAnother || (value as number) >= 2,
    ),
  )
  readonly PHASE_SECONDS: number;

  @Variable(
    { meaning: 'n: a session expires (n-1)·X seconds after it became idle', default: '3', shared: true },
    WholeNumber(1, 1_000),
  )
  readonly IDLE_PHASES: number;

  @Variable(
    {
      meaning: 'how long after its last phase keepalives can keep a session',
      default: '1800',
      shared: true,
    },
    WholeNumber(0, 86_400),
  )
  readonly MAX_PAUSE_SECONDS: number;

  @Variable(
    {
      meaning: 'a session with more than this left to play gets no further phase; at least 3·X',
      default: (given) => String(Math.max(60, 3 * Number(given.PHASE_SECONDS ?? 10)) || 60),
      defaultText: '60, or 3·X if that is more',
      shared: true,
    },
    Decimal('must be a number of seconds up to 14400', (value) => value <= 14_400),
    Satisfies(
      'must be at least 3 times PHASE_SECONDS',
      (value, config: SessionsSection) => !((value as number) < 3 * config.PHASE_SECONDS),
    ),
  )
  readonly MAX_AHEAD_SECONDS: number;

  @Variable(
    {
      meaning:
        '`redis`, or `memory`, the embedded store for a single process, which must be set explicitly in production',
      default: (given) => (given.REDIS_URL ? 'redis' : isProduction(given) ? undefined : 'memory'),
      defaultText: '`redis` if `REDIS_URL` is set, else `memory`',
    },
    IsIn(['redis', 'memory'], {
      message:
        'must be redis or memory; production needs REDIS_URL, or SESSION_STORE=memory by name for one process',
    }),
  )
  readonly SESSION_STORE: 'redis' | 'memory';

  @Variable(
    { meaning: 'the Redis server: `redis://` or `rediss://`, with its password if it has one', secret: true },
    ValidateIf(
      (config: SessionsSection) => config.SESSION_STORE === 'redis' || config.REDIS_URL !== undefined,
    ),
    Satisfies(
      'must be a redis:// or rediss:// URL, with a database from 0 to 15 if any; escape / ? # % and @ in its password',
      isRedisUrl,
    ),
  )
  readonly REDIS_URL?: string;

  @Variable(
    { meaning: 'the ACL user of Redis, if the URL names none', defaultText: "none: Redis's `default`" },
    IsOptional(),
    Satisfies(
      'must not differ from the user in REDIS_URL: give one of them',
      (value, { redisUrlParts: { username } }: SessionsSection) => username === '' || username === value,
    ),
  )
  readonly REDIS_USERNAME?: string;

  @Variable(
    { meaning: 'the password of Redis, if the URL has none', secret: true },
    IsOptional(),
    Satisfies(
      'must not differ from the password in REDIS_URL: give one of them',
      (value, { redisUrlParts: { password } }: SessionsSection) => password === '' || password === value,
    ),
  )
  readonly REDIS_PASSWORD?: string;

  @Variable(
    {
      meaning:
        'the layout of the records that this instance writes, `1` (of release 0.1.0) or `2`; set it to `2` after an update, when no older release runs',
      defaultText: '`2`, or `1` where Redis holds data of release 0.1.0',
    },
    IsOptional(),
    IsIn(['1', '2'], { message: 'must be 1 or 2: the layout of the records that this instance writes' }),
  )
  readonly STORE_LAYOUT?: '1' | '2';

  @Variable(
    {
      meaning:
        '`true`: `REDIS_URL` is a node of a Redis Cluster of version 7 or later, or its configuration endpoint',
      default: 'false',
    },
    IsIn(['true', 'false'], { message: 'must be true or false' }),
    Satisfies(
      'must be false where REDIS_URL names a database: a cluster has one only',
      (value, { REDIS_URL }: SessionsSection) =>
        value !== 'true' || /^\/?0?$/.test(URL.parse(REDIS_URL ?? '')?.pathname ?? ''),
    ),
  )
  readonly REDIS_CLUSTER: 'true' | 'false';

  @Variable(
    {
      meaning:
        'Redis Sentinels, `host:port` with commas, which know the primary; of `REDIS_URL`, protocol, user, password and ' +
        'database count then, and its host does not',
    },
    IsOptional(),
    List(
      'must be host:port of each Sentinel, separated by commas',
      (one) => isUrl(`redis://${one}`, ['redis:'], 'refused') && /:\d+$/.test(one) && !/[/?#]/.test(one),
    ),
    Satisfies(
      'must not be set with REDIS_CLUSTER=true: a cluster has no Sentinels',
      (_, { REDIS_CLUSTER }: SessionsSection) => REDIS_CLUSTER !== 'true',
    ),
  )
  readonly REDIS_SENTINELS?: readonly string[];

  @Variable({
    meaning: 'the name by which the Sentinels know the primary',
    default: 'mymaster',
  })
  readonly REDIS_SENTINEL_MASTER: string;

  @Variable({ meaning: 'the password of the Sentinels, if they have one', secret: true }, IsOptional())
  readonly REDIS_SENTINEL_PASSWORD?: string;

  @Variable(
    {
      meaning:
        'without its store, the service answers 503 (`closed`), or continues the sessions that it knows until their ' +
        '`expires_at` (`open`)',
      default: 'closed',
    },
    IsIn(['closed', 'open'], { message: 'must be closed or open' }),
  )
  readonly STORE_DOWN_POLICY: 'closed' | 'open';

  @Variable(
    {
      meaning:
        'a new session is answered when the primary has it (`primary`), or when a replica has it as well (`replicated`), ' +
        'so that the loss of the primary loses no session that was admitted',
      default: 'primary',
    },
    IsIn(['primary', 'replicated'], { message: 'must be primary or replicated' }),
    Satisfies(
      'must be primary with SESSION_STORE=memory, which has no replicas',
      (value, { SESSION_STORE }: SessionsSection) => value !== 'replicated' || SESSION_STORE !== 'memory',
    ),
  )
  readonly ADMIT_DURABILITY: 'primary' | 'replicated';

  /**
   * Where Redis is and who asks. A user or password in REDIS_URL may be empty, as in `redis://app:@host`: then the variable
   * of its own holds.
   */
  get redisEndpoint(): RedisEndpoint {
    const { url, username, password } = this.redisUrlParts;
    return {
      url,
      username: this.REDIS_USERNAME ?? (username || undefined),
      password: this.REDIS_PASSWORD ?? (password || undefined),
      isCluster: this.REDIS_CLUSTER === 'true',
      sentinels: this.REDIS_SENTINELS && {
        addresses: this.REDIS_SENTINELS,
        master: this.REDIS_SENTINEL_MASTER,
        password: this.REDIS_SENTINEL_PASSWORD,
      },
      awaitsReplica: this.ADMIT_DURABILITY === 'replicated',
    };
  }

  /** REDIS_URL without its user and password, and these two, unescaped. All empty where it is not a URL of Redis. */
  get redisUrlParts(): { readonly url: string; readonly username: string; readonly password: string } {
    if (!isRedisUrl(this.REDIS_URL)) return { url: '', username: '', password: '' };
    const url = new URL(this.REDIS_URL);
    const [username, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
    Object.assign(url, { username: '', password: '' });
    return { url: url.href, username, password };
  }

  /** X, in milliseconds. */
  get phaseMs(): number {
    return Math.round(this.PHASE_SECONDS * 1_000);
  }

  get policy(): Policy {
    const expireAfterMs = this.IDLE_PHASES * this.phaseMs;
    const maxAheadMs = Math.round(this.MAX_AHEAD_SECONDS * 1_000);
    return {
      quota: { maxSessions: this.MAX_SESSIONS_PER_USER },
      idleAfterMs: this.phaseMs,
      expireAfterMs,
      leaseMs: Math.min(LEASE_MS, expireAfterMs),
      maxPauseMs: this.MAX_PAUSE_SECONDS * 1_000,
      maxAheadMs,
      // Leaves room for two seeks in a row. MAX_AHEAD_SECONDS is 3·X or more, so that at least one phase remains.
      pacedAheadMs: maxAheadMs - 2 * this.phaseMs,
    };
  }
}

function isRedisUrl(value: unknown): value is string {
  if (!isUrl(value, ['redis:', 'rediss:'], 'allowed')) return false;
  const { username, password, pathname } = new URL(value);
  try {
    decodeURIComponent(username + password);
  } catch {
    return false;
  }
  // A client that cannot select its database would use database 0.
  return /^\/?$|^\/(\d|1[0-5])$/.test(pathname);
}
