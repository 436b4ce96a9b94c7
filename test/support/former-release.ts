import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type Clock } from '../../src/clock.js';
import { type Policy } from '../../src/sessions/admission.js';
import { type SessionRepository } from '../../src/sessions/session.repository.js';
import { type AdmissionRequest } from '../../src/sessions/session.js';
import { QUIET } from './redis-database.js';

const ROOT = join(__dirname, '../..');
/**
 * The previous release, with the older layout: its build without source maps, and those of its packages that this
 * release no longer has.
 */
const RELEASE = 'release-0.1.0';

/**
 * Unpacks the built service of the previous release into `dist` of the returned folder. The folder is under
 * node_modules, so that the service finds the packages of this release, and tools that check the sources ignore it.
 */
export function unpackFormerRelease(): string {
  const archive = join(ROOT, 'test/fixtures', `${RELEASE}.tgz`);
  const digest = hash('sha1', readFileSync(archive));
  const folder = join(ROOT, 'node_modules/.cache/streamgate', `${RELEASE}-${digest.slice(0, 8)}`);
  if (existsSync(join(folder, 'dist/main.js'))) return folder;
  // Another worker may unpack it at the same time. Each uses its own folder, and one of them is renamed.
  const own = `${folder}-${process.pid}`;
  mkdirSync(join(own, 'dist'), { recursive: true });
  execFileSync('tar', ['-xzf', archive, '-C', join(own, 'dist')]);
  try {
    renameSync(own, folder);
  } catch {
    rmSync(own, { recursive: true });
  }
  return folder;
}

/** The exports of release 0.1.0 that the tests use. */
interface FormerModules {
  readonly connection: {
    connectRedis(config: { REDIS_URL: string }, availability: unknown, timeoutMs: number): FormerRedis;
  };
  readonly repository: {
    RedisSessionRepository: new (
      redis: FormerRedis,
      policy: Omit<Policy, 'quota'> & { limit: number },
      clock: Clock,
      availability: unknown,
      wanted: readonly string[],
    ) => Omit<SessionRepository, 'admit' | 'list'> & {
      admit(request: object): ReturnType<SessionRepository['admit']>;
      list(userId: string): Promise<Awaited<ReturnType<SessionRepository['list']>>['sessions']>;
    };
  };
}
interface FormerRedis {
  readonly status: string;
  quit(): Promise<unknown>;
  once(event: 'ready', listener: () => void): void;
}

/** The Redis store of the previous release, with the port of this release. */
export async function openFormerStore(
  url: string,
): Promise<{ open(policy: Policy, clock: Clock): SessionRepository; close(): Promise<unknown> }> {
  const load = createRequire(join(unpackFormerRelease(), 'dist/main.js'));
  const connection = load('./sessions/redis/redis-connection.js') as FormerModules['connection'];
  const { RedisSessionRepository } = load(
    './sessions/redis/redis-session.repository.js',
  ) as FormerModules['repository'];
  const redis = connection.connectRedis({ REDIS_URL: url }, QUIET, 15_000);
  if (redis.status !== 'ready') await new Promise<void>((resolve) => redis.once('ready', resolve));
  return {
    close: async () => redis.quit(),
    open(policy, clock) {
      const limit = policy.quota.maxSessions;
      const former = new RedisSessionRepository(redis, { ...policy, limit }, clock, QUIET, []);
      const admit = async ({ window, quota, ...request }: AdmissionRequest) =>
        former.admit({
          ...request,
          phases: window?.end ?? 0,
          live: window?.live === true ? { oldest: window.oldest, start: window.start } : undefined,
          limit: quota.maxSessions,
        });
      const list = async (userId: string) => ({ quota: undefined, sessions: await former.list(userId) });
      const ledger = async () => ({ ...(await former.ledger()), unreadable: 0 });
      return Object.assign(Object.create(former) as SessionRepository, { admit, list, ledger });
    },
  };
}
