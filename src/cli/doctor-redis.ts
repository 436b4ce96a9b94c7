import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { type RedisExamination, adviceFor, examineRedis } from '../sessions/redis/examination.js';
import { failureToConnect } from './doctor-neighbours.js';
import { type Finding } from './finding.js';

/** Signed URLs end by the clock of this machine, and sessions by that of Redis: a phase lasts seconds. */
const MAX_CLOCK_DIFFERENCE_MS = 2_000;
const OLDEST_MAJOR_VERSION = 7;
const REDIS_PORT = 6_379;
const FULL_SHARE = 0.75;

const NO_TLS =
  'Write redis:// instead of rediss:// in REDIS_URL, or turn on TLS in Redis: it does not speak TLS on this port.';

/** How to mend what the network says, by the code of the error or a part of its message. */
const NETWORK_ADVICE: readonly (readonly [error: RegExp, advice: string])[] = [
  [/ECONNREFUSED/, 'Start Redis, or correct the host and port in REDIS_URL: nothing listens there.'],
  [/ENOTFOUND|EAI_AGAIN/, 'Correct the host in REDIS_URL: its name has no address here.'],
  [
    /TIMEDOUT|time(d )?out/i,
    'Open the way to Redis: a firewall or a security group swallows the connection, or the host is away.',
  ],
  [/wrong version number|packet length|EPROTO/i, NO_TLS],
  [
    /certificate|self.signed|ALTNAME/i,
    'Give Redis a certificate for the host in REDIS_URL of an authority that Node trusts; NODE_EXTRA_CA_CERTS adds one.',
  ],
  [/cluster support disabled/, 'Set REDIS_CLUSTER=false: this server is no node of a cluster.'],
  [
    /connection was lost|ECONNRESET|closed/i,
    'Check that Redis listens on this port, and whether it wants TLS: then write rediss:// in REDIS_URL.',
  ],
];

/** Checks the Redis of the configuration: connection, version, role, memory, clock, and everything that requests do. */
export async function checkRedis(config: Config, clock: Clock): Promise<readonly Finding[]> {
  if (config.SESSION_STORE === 'memory')
    return [
      config.production
        ? {
            check: 'redis',
            level: 'warning',
            finding:
              'SESSION_STORE is memory: sessions are lost at each restart, and each instance counts alone.',
            remedy: 'Set REDIS_URL, unless there is one instance only and a restart may forget all sessions.',
          }
        : { check: 'redis', level: 'ok', finding: 'The embedded store is used; there is no Redis to check.' },
    ];
  const examination = await examineRedis(config, clock);
  const { unreachable, servers } = examination;
  if (unreachable !== undefined)
    return [
      {
        check: 'redis.connection',
        level: 'fault',
        finding: `Redis does not answer (${unreachable}).`,
        remedy: (await speaksNoTls(config, unreachable)) ? NO_TLS : mend(unreachable),
      },
    ];
  return [
    { check: 'redis.connection', level: 'ok', finding: 'Redis answers.' },
    ...servers.flatMap((info) => checkServer(info, config)),
    ...checkClock(examination),
    ...checkRequests(examination),
  ];
}

/** A Redis without TLS reads the handshake as an incomplete command, and does not answer. */
async function speaksNoTls({ redisEndpoint }: Config, unreachable: string): Promise<boolean> {
  const url = new URL(redisEndpoint.url);
  if (url.protocol !== 'rediss:' || !/TIMEDOUT/.test(unreachable)) return false;
  return (await failureToConnect(new URL(`tcp://${url.hostname}:${url.port || REDIS_PORT}`))) === undefined;
}

function mend(error: string): string {
  const advice = adviceFor(error);
  if (advice !== undefined) return `${advice[0]!.toUpperCase()}${advice.slice(1)}.`;
  return (
    NETWORK_ADVICE.find(([pattern]) => pattern.test(error))?.[1] ??
    'Check REDIS_URL, and the log of Redis itself.'
  );
}

function checkServer(info: ReadonlyMap<string, string>, { redisEndpoint }: Config): readonly Finding[] {
  if (info.size === 0)
    return [
      {
        check: 'redis.version',
        level: 'warning',
        finding: 'The ACL user may not run INFO: version, role and memory are not known.',
        remedy: 'Run ACL SETUSER with its name and +info.',
      },
    ];
  return [checkVersion(info), ...checkRole(info, redisEndpoint.isCluster === true), ...checkMemory(info)];
}

function checkVersion(info: ReadonlyMap<string, string>): Finding {
  const valkey = info.get('valkey_version');
  const version = valkey ?? info.get('redis_version') ?? '0';
  const name = `${valkey === undefined ? 'Redis' : 'Valkey'} ${version}`;
  return Number.parseInt(version) >= OLDEST_MAJOR_VERSION
    ? { check: 'redis.version', level: 'ok', finding: `It is ${name}.` }
    : {
        check: 'redis.version',
        level: 'fault',
        finding: `It is ${name}, which lacks what the scripts of this service need.`,
        remedy: `Update to Redis ${OLDEST_MAJOR_VERSION}.0 or newer, or to Valkey.`,
      };
}

function checkRole(info: ReadonlyMap<string, string>, isCluster: boolean): readonly Finding[] {
  const findings: Finding[] = [];
  if (info.get('role') === 'slave')
    findings.push({
      check: 'redis.role',
      level: 'fault',
      finding: `It is a replica of ${info.get('master_host')}:${info.get('master_port')}.`,
      remedy: 'Name the primary in REDIS_URL, not a reader endpoint: a replica takes no writes.',
    });
  else findings.push({ check: 'redis.role', level: 'ok', finding: 'It is a primary.' });
  if (info.get('cluster_enabled') === '1' && !isCluster)
    findings.push({
      check: 'redis.cluster',
      level: 'fault',
      finding: 'It is a node of a cluster, and REDIS_CLUSTER is false.',
      remedy: 'Set REDIS_CLUSTER=true.',
    });
  return findings;
}

function checkMemory(info: ReadonlyMap<string, string>): readonly Finding[] {
  const findings: Finding[] = [];
  const policy = info.get('maxmemory_policy') ?? 'unknown';
  const most = Number(info.get('maxmemory') ?? 0);
  const used = Number(info.get('used_memory') ?? 0);
  if (policy.startsWith('allkeys'))
    findings.push({
      check: 'redis.policy',
      level: most > 0 ? 'fault' : 'warning',
      finding: `Its maxmemory-policy is ${policy}: a full Redis drops sessions, and users get more places than they have.`,
      remedy: 'Run CONFIG SET maxmemory-policy noeviction, and write it into the configuration of Redis.',
    });
  else findings.push({ check: 'redis.policy', level: 'ok', finding: `Its maxmemory-policy is ${policy}.` });
  if (most > 0 && used > FULL_SHARE * most)
    findings.push({
      check: 'redis.memory',
      level: 'warning',
      finding: `It uses ${Math.round((100 * used) / most)} % of maxmemory.`,
      remedy: 'Raise maxmemory, or remove what else it holds: a full Redis refuses new sessions.',
    });
  return findings;
}

function checkClock({ clockAheadMs }: RedisExamination): readonly Finding[] {
  if (clockAheadMs === undefined) return [];
  if (Math.abs(clockAheadMs) <= MAX_CLOCK_DIFFERENCE_MS)
    return [{ check: 'redis.clock', level: 'ok', finding: 'Its clock agrees with that of this machine.' }];
  const seconds = (Math.abs(clockAheadMs) / 1_000).toFixed(1);
  return [
    {
      check: 'redis.clock',
      level: 'fault',
      finding: `The clock of this machine is ${seconds} s ${clockAheadMs > 0 ? 'ahead of' : 'behind'} that of Redis.`,
      remedy:
        'Synchronise both by NTP (chrony, systemd-timesyncd): sessions end by the clock of Redis, and media URLs by that of this machine.',
    },
  ];
}

function checkRequests({ missingRights, refusal }: RedisExamination): readonly Finding[] {
  if (missingRights.length > 0)
    return [
      {
        check: 'redis.rights',
        level: 'fault',
        finding: `The ACL user may not run ${missingRights.join(', ')}.`,
        remedy: mend('NOPERM'),
      },
    ];
  if (refusal !== undefined)
    return [
      {
        check: 'redis.requests',
        level: 'fault',
        finding: `Redis refuses what requests do (${refusal}).`,
        remedy: mend(refusal),
      },
    ];
  return [{ check: 'redis.requests', level: 'ok', finding: 'It does everything that requests need.' }];
}
