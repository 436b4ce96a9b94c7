import { createHmac, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import Fastify from 'fastify';
import { Redis } from 'ioredis';
import { PHASE_REQUEST, type PhaseRequest } from './phase-request.mts';

/**
 * The reference: this one route as a good engineer would write it by hand, with nothing around it. It calls the same
 * script with the same arguments, shares signed phases for the same time, and keeps a place only if its phase arrived.
 * Its reply equals the service's to the byte. It has no log, no problem details and no origin, and one stream only.
 */
const built = createRequire(import.meta.url);
const { defineScripts } = built(
  '../../dist/sessions/redis/redis-scripts.js',
) as typeof import('../../src/sessions/redis/redis-scripts.ts');
const { userKeys } = built(
  '../../dist/sessions/redis/redis-keys.js',
) as typeof import('../../src/sessions/redis/keys.ts');

const { PORT, REDIS_URL, MEDIA_SIGNING_SECRET } = process.env;
const LIMIT = 3;
const PHASE_MS = 10_000;
const EXPIRE_MS = 3 * PHASE_MS;
const LEASE_MS = 5_000;
const SHARE_MS = PHASE_MS / 10;
const STREAM_MS = 64_000;
const SEGMENT_MS = 4_000;
const PHASES = Math.ceil(STREAM_MS / PHASE_MS);

const redis = new Redis(REDIS_URL!, {
  commandTimeout: 1_000,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 1,
  autoResendUnfulfilledCommands: false,
});
defineScripts(redis);
await new Promise((resolve) => redis.once('ready', resolve));

const instant = (ms: number): string => new Date(ms).toISOString();

function signPhase(streamId: string, index: number, base: string, expiresAt: number) {
  const from = index * PHASE_MS;
  const to = Math.min(from + PHASE_MS, STREAM_MS);
  const segments: object[] = [];
  for (let at = Math.ceil(from / SEGMENT_MS); at * SEGMENT_MS < to; at++) {
    const path = `${streamId}/360p/segment-${String(at).padStart(3, '0')}.ts`;
    const signature = createHmac('sha256', MEDIA_SIGNING_SECRET!).update(`${path}\n${expiresAt}`);
    const query = `expires=${expiresAt}&signature=${signature.digest('base64url')}`;
    segments.push({ url: `${base}/media/${path}?${query}`, duration_seconds: SEGMENT_MS / 1_000 });
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
  const { user_id, stream_id, session_id = randomUUID(), phase = '', end_session_ids = [] } = request.body;
  const { records, index, ring, state, buckets, outbox, bucket } = userKeys(user_id);
  const ask = [
    '',
    user_id,
    session_id,
    stream_id,
    phase,
    PHASES,
    LIMIT,
    EXPIRE_MS,
    LEASE_MS,
    '',
    bucket,
    '',
    '',
  ];
  const keys = [records, index, ring, state, buckets, outbox];
  const answer = await redis.sgAdmit(...keys, ...ask, ...end_session_ids);
  if (answer[0] !== 1) return reply.code(409).send({ code: answer[0] });
  const [, now, created, live, [reserved, startedAt, at, version], former] = answer;

  // A new session is confirmed when its phase has arrived. If the phase did not arrive, the admission is undone.
  reply.raw.once('close', () => {
    const arrived = reply.raw.writableFinished;
    if (arrived && reserved === 0) return;
    const place = ['', user_id, session_id, startedAt];
    const undo = [...place, version, EXPIRE_MS, LEASE_MS, ...(former ?? ['', '', '', '']), bucket, ''];
    const settled = arrived
      ? redis.sgConfirm(records, ring, state, outbox, ...place, '')
      : redis.sgWithdraw(...keys, ...undo);
    settled.catch(console.error);
  });

  const self = `${request.protocol}://${request.host}`;
  const issued = phaseOf(stream_id, at, self);
  void reply.code(created === 1 ? 201 : 200);
  return {
    session: {
      session_id,
      user_id,
      stream_id,
      state: 'active',
      started_at: instant(startedAt),
      last_activity_at: instant(now),
      idle_at: instant(now + PHASE_MS),
      expires_at: instant(now + EXPIRE_MS),
      phase: at,
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
