import { createHmac, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import Fastify from 'fastify';
import { PHASE_REQUEST, type PhaseRequest } from './phase-request.mts';

/**
 * The reference: this one route as a good engineer would write it by hand, with nothing around it. It calls the same
 * scripts by the same functions, shares signed phases for the same time, and keeps a place only if its phase arrived.
 * Its reply equals the service's to the byte. It has no log, no problem details and no origin, and one stream only.
 */
const built = createRequire(import.meta.url);
const { connectRedis } = built(
  '../../dist/sessions/redis/link.js',
) as typeof import('../../src/sessions/redis/link.ts');
const { Availability } = built(
  '../../dist/sessions/redis/availability.js',
) as typeof import('../../src/sessions/redis/availability.ts');
const { ScriptRunner } = built(
  '../../dist/sessions/redis/script.js',
) as typeof import('../../src/sessions/redis/script.ts');
const { userKeys } = built(
  '../../dist/sessions/redis/keys.js',
) as typeof import('../../src/sessions/redis/keys.ts');
const { admit } = built(
  '../../dist/sessions/redis/scripts/admit.js',
) as typeof import('../../src/sessions/redis/scripts/admit.ts');
const { confirm } = built(
  '../../dist/sessions/redis/scripts/confirm.js',
) as typeof import('../../src/sessions/redis/scripts/confirm.ts');
const { withdraw } = built(
  '../../dist/sessions/redis/scripts/withdraw.js',
) as typeof import('../../src/sessions/redis/scripts/withdraw.ts');

const { PORT, REDIS_URL, MEDIA_SIGNING_SECRET } = process.env;
const LIMIT = 3;
const PHASE_MS = 10_000;
const EXPIRE_MS = 3 * PHASE_MS;
const LEASE_MS = 5_000;
const SHARE_MS = PHASE_MS / 10;
const STREAM_MS = 64_000;
const SEGMENT_MS = 4_000;
const PHASES = Math.ceil(STREAM_MS / PHASE_MS);

const QUOTA = { maxSessions: LIMIT };
const WINDOW = {
  oldest: 0,
  end: PHASES,
  start: 0,
  live: false,
  phaseMs: PHASE_MS,
  lastPhaseMs: STREAM_MS % PHASE_MS,
};

const log = { log: console.error, warn: console.error, error: console.error };
const link = connectRedis({ url: REDIS_URL! }, new Availability(log));
await link.attempted();
const policy = {
  idleAfterMs: PHASE_MS,
  expireAfterMs: EXPIRE_MS,
  leaseMs: LEASE_MS,
  maxPauseMs: 1_800_000,
  maxAheadMs: 14_400_000,
  pacedAheadMs: 14_380_000,
};
const scripts = new ScriptRunner(link, { policy, subscriptions: [], layout: 2 });

const instant = (ms: number): string => new Date(ms).toISOString();

function signPhase(streamId: string, index: number, base: string, expiresAt: number) {
  const from = index * PHASE_MS;
  const to = Math.min(from + PHASE_MS, STREAM_MS);
  const segments: object[] = [];
  for (let at = Math.ceil(from / SEGMENT_MS); at * SEGMENT_MS < to; at++) {
    const path = `${streamId}/360p/segment-${String(at).padStart(3, '0')}.ts`;
    const signature = createHmac('sha256', MEDIA_SIGNING_SECRET!).update(`${path}\n${expiresAt}`);
    const query = `expires=${expiresAt}&signature=${signature.digest('base64url')}`;
    segments.push({
      url: `${base}/media/${path}?${query}`,
      duration_seconds: SEGMENT_MS / 1_000,
      sequence: at,
    });
  }
  return {
    index,
    start_seconds: from / 1_000,
    duration_seconds: (to - from) / 1_000,
    last: index === PHASES - 1,
    segments,
    expires_at: instant(expiresAt),
  };
}

const signed = new Map<string, { phase: ReturnType<typeof signPhase>; until: number }>();

function phaseOf(streamId: string, index: number, base: string): ReturnType<typeof signPhase> {
  const key = `${base}/${streamId}/${index}`;
  const now = Date.now();
  const known = signed.get(key);
  if (known && now < known.until) return known.phase;
  const phase = signPhase(streamId, index, base, now + EXPIRE_MS);
  signed.set(key, { phase, until: now + SHARE_MS });
  return phase;
}

const fastify = Fastify();
const schema = { body: PHASE_REQUEST };

fastify.post<{ Body: PhaseRequest }>('/v1/phases', { schema }, async (request, reply) => {
  const { user_id, stream_id, session_id = randomUUID(), phase, end_session_ids = [] } = request.body;
  const keys = userKeys(user_id);
  const answer = await admit(scripts, keys, '', {
    userId: user_id,
    sessionId: session_id,
    streamId: stream_id,
    phase,
    window: WINDOW,
    quota: QUOTA,
    endSessionIds: end_session_ids,
  });
  if (answer.outcome !== 'admitted') return reply.code(409).send({ code: answer.outcome });
  const { now, created, live, record, former } = answer;

  // A new session is confirmed when its phase has arrived. If the phase did not arrive, the admission is undone.
  reply.raw.once('close', () => {
    const arrived = reply.raw.writableFinished;
    const reserved = record.status === 'reserved';
    if (arrived && !reserved) return;
    const place = { userId: user_id, ...record, reserved, former };
    (arrived ? confirm : withdraw)(scripts, keys, '', place).catch(console.error);
  });

  const self = `${request.protocol}://${request.host}`;
  const issued = phaseOf(stream_id, record.phase, self);
  void reply.code(created ? 201 : 200);
  return {
    session: {
      session_id,
      user_id,
      stream_id,
      state: 'active',
      started_at: instant(record.startedAt),
      last_activity_at: instant(now),
      plays_until: instant(record.playsUntil),
      idle_at: instant(now + PHASE_MS),
      expires_at: instant(now + EXPIRE_MS),
      phase: record.phase,
    },
    phase: issued,
    sessions: { live, limit: LIMIT },
    next_request_in_seconds: issued.duration_seconds,
    playback_url:
      `${self}/v1/play/${stream_id}/index.m3u8` +
      `?user_id=${encodeURIComponent(user_id)}&session_id=${encodeURIComponent(session_id)}`,
  };
});

await fastify.listen({ host: '127.0.0.1', port: Number(PORT) });
