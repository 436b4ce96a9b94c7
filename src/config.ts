import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Transform, plainToInstance } from 'class-transformer';
import {
  IsBoolean,
  IsIn,
  IsInt,
  IsNumber,
  IsOptional,
  IsString,
  Matches,
  Max,
  Min,
  MinLength,
  ValidateIf,
  validateSync,
} from 'class-validator';
import { type Policy } from './sessions/admission.js';

/** How long a new session's place is held while its first phase is on its way. */
const LEASE_MS = 5_000;

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** Variables that may hold a secret, and may be given as NAME_FILE instead. */
const SECRETS = ['REDIS_URL', 'REDIS_PASSWORD', 'MEDIA_SIGNING_SECRET', 'INTERNAL_API_TOKEN'] as const;

/** What the contract names and this version does not do yet: said at start, rather than passed over in silence. */
const NOT_YET = {
  MAX_PAUSE_SECONDS: 'keepalive is not served yet',
  CALLBACK_URL: 'callbacks are not sent yet',
  RATE_LIMIT_PER_USER: 'rates are not limited yet',
  RATE_LIMIT_PER_ADDRESS: 'rates are not limited yet',
} as const;

/** Numbers come as plain decimals; whatever else, '' and '0x10' included, is left for the validator to refuse. */
const Decimal = (): PropertyDecorator =>
  Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value,
  );

/**
 * The configuration: the only reader of the environment. Fields are the variables of the README's table. A message
 * never holds a value: values may be secrets, and logs are read by many.
 */
export class Config {
  @IsString()
  readonly HOST: string;

  @Decimal()
  @IsInt({ message: 'must be a port number' })
  @Min(0, { message: 'must be a port number' })
  @Max(65_535, { message: 'must be at most 65535' })
  readonly PORT: number = 3000;

  @IsIn(['redis', 'memory'], {
    message:
      'must be redis or memory; production needs REDIS_URL, or SESSION_STORE=memory by name for one process',
  })
  readonly SESSION_STORE: 'redis' | 'memory';

  @ValidateIf((config: Config) => config.SESSION_STORE === 'redis' || config.REDIS_URL !== undefined)
  @Matches(/^rediss?:\/\/[^\s]+$/, { message: 'must be a redis:// or rediss:// URL' })
  readonly REDIS_URL?: string;

  @IsOptional()
  @IsString()
  readonly REDIS_PASSWORD?: string;

  @IsOptional()
  @IsIn(['false'], { message: 'must be false: cluster mode is not available yet' })
  readonly REDIS_CLUSTER?: string;

  @Decimal()
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(1_000, { message: 'must be at most 1000' })
  readonly MAX_SESSIONS_PER_USER: number = 3;

  @Decimal()
  @IsNumber({ maxDecimalPlaces: 3 }, { message: 'must be a number of seconds, to the millisecond' })
  @Min(0.2, { message: 'must be at least 0.2' })
  @Max(3_600, { message: 'must be at most 3600' })
  readonly PHASE_SECONDS: number = 10;

  @Decimal()
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(1_000, { message: 'must be at most 1000' })
  readonly IDLE_PHASES: number = 3;

  @Matches(/^(https?:\/\/[^\s/?#]+\/\S*\{stream_id\}\S*|(?!https?:)\S.*)$/, {
    message: 'must be a folder, or an http(s):// URL with {stream_id} in its path',
  })
  readonly STREAM_ORIGIN: string = resolve(__dirname, '../samples/streams');

  @IsOptional()
  @Matches(/^https?:\/\/[^\s?#]+$/, { message: 'must be an http(s):// URL without query' })
  readonly MEDIA_BASE_URL?: string;

  @IsIn(['hmac', 'none'], {
    message: 'must be hmac or none: secure-link and cloudfront are not available yet',
  })
  readonly MEDIA_SIGNING: 'hmac' | 'none' = 'hmac';

  @MinLength(16, {
    message: 'must be at least 16 characters, the same for all instances; production needs it',
  })
  readonly MEDIA_SIGNING_SECRET: string;

  @IsIn(['closed'], { message: 'must be closed: open is not available yet' })
  readonly STORE_DOWN_POLICY = 'closed';

  @IsIn(['none'], {
    message:
      'must be none, by name in production: jwt is not available yet, so put what authenticates in front',
  })
  readonly AUTH_MODE: 'none';

  @ValidateIf((config: Config) => config.production || config.INTERNAL_API_TOKEN !== undefined)
  @IsString({ message: 'is missing: production does not start with /internal unguarded' })
  @MinLength(16, { message: 'must be at least 16 characters' })
  readonly INTERNAL_API_TOKEN?: string;

  @IsIn(LOG_LEVELS, { message: `must be one of ${LOG_LEVELS.join(', ')}` })
  readonly LOG_LEVEL: (typeof LOG_LEVELS)[number] = 'info';

  @IsIn(['json', 'pretty'], { message: 'must be json or pretty' })
  readonly LOG_FORMAT: 'json' | 'pretty';

  /** Variables that are set but change nothing in this version, with the reason: for one warning each at start. */
  @IsOptional()
  readonly withoutEffect: readonly string[] = [];

  @IsBoolean()
  readonly production: boolean;

  /** X, in milliseconds. */
  get phaseMs(): number {
    return Math.round(this.PHASE_SECONDS * 1_000);
  }

  get policy(): Policy {
    const expireAfterMs = this.IDLE_PHASES * this.phaseMs;
    return {
      limit: this.MAX_SESSIONS_PER_USER,
      idleAfterMs: this.phaseMs,
      expireAfterMs,
      leaseMs: Math.min(LEASE_MS, expireAfterMs),
    };
  }
}

/** Everything that is wrong with the configuration, a line each, by the variable's name and never by its value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(readonly faults: readonly string[]) {
    super(`The configuration is not valid:\n${faults.map((fault) => `  ${fault}`).join('\n')}`);
  }
}

/** Reads and validates the whole configuration at once. An empty variable counts as unset. */
export function readConfig(environment: NodeJS.ProcessEnv): Config {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const faults = readSecretFiles(given);
  const production = given.NODE_ENV === 'production';
  const defaults = {
    HOST: production ? '0.0.0.0' : '127.0.0.1',
    SESSION_STORE: given.REDIS_URL ? 'redis' : production ? undefined : 'memory',
    MEDIA_SIGNING_SECRET:
      production && given.MEDIA_SIGNING !== 'none' ? undefined : randomBytes(32).toString('base64url'),
    AUTH_MODE: production ? undefined : 'none',
    LOG_FORMAT: production ? 'json' : 'pretty',
    withoutEffect: Object.entries(NOT_YET)
      .filter(([name]) => given[name] !== undefined && given[name] !== '0')
      .map(([name, reason]) => `${name}: ${reason}`),
  };
  const config = plainToInstance(
    Config,
    { ...defaults, ...given, production },
    { exposeDefaultValues: true },
  );
  for (const { property, constraints } of validateSync(config, { stopAtFirstError: true, whitelist: true }))
    faults.push(`${property}: ${Object.values(constraints ?? {}).join('; ')}`);
  if (faults.length > 0) throw new ConfigError(faults);
  return config;
}

/** Puts what NAME_FILE holds in NAME's place; returns what is wrong with the files. */
function readSecretFiles(given: Record<string, string | undefined>): string[] {
  const faults: string[] = [];
  for (const name of SECRETS) {
    const file = given[`${name}_FILE`];
    if (file === undefined) continue;
    if (given[name] !== undefined) faults.push(`${name}_FILE: is set beside ${name}; give one of them`);
    try {
      given[name] = readFileSync(file, 'utf8').trim();
    } catch (error) {
      faults.push(`${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'error'})`);
    }
  }
  return faults;
}
