import { type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { type Redis } from 'ioredis';
import { type Clock } from '../../clock.js';
import { type EndReason, type Policy, ALL_SESSIONS, oldestFirst } from '../admission.js';
import {
  type EndResult,
  type ExpireResult,
  SessionRepository,
  StoreUnavailableError,
} from '../session.repository.js';
import {
  type Admission,
  type AdmissionRequest,
  type Place,
  type Session,
  type ShownRecord,
  admitted,
  toSession,
} from '../session.js';
import { type Availability, firstAttempt, isRefusal, sendTogether } from './redis-connection.js';
import { PARTITIONS, partitionKeys, userKeys } from './redis-keys.js';
import { type FlatSession } from './redis-scripts.js';

/** What one sweep step may look at: measured at about 10 µs of Redis per user, a step blocks for about 1 ms. */
const SWEEP_USERS = 100;
const SWEEP_RECORDS = 300;
/** How many partitions are asked at once: few round trips, and requests still get in between. */
const SWEEP_WIDTH = 32;

/** The same rule as one atomic script per verb, on the clock of the Redis server. */
export class RedisSessionRepository extends SessionRepository implements OnModuleInit, OnApplicationShutdown {
  constructor(
    private readonly redis: Redis,
    private readonly policy: Policy,
    private readonly clock: Clock,
    private readonly availability: Availability,
  ) {
    super();
  }

  async onModuleInit(): Promise<void> {
    await firstAttempt(this.redis);
  }

  /** Last of all: the server has drained, so that every confirmation is on its way already. */
  async onApplicationShutdown(): Promise<void> {
    await this.redis.quit().catch(() => this.redis.disconnect());
  }

  override async admit(request: AdmissionRequest): Promise<Admission> {
    const { userId, sessionId, streamId, phase, phases, endSessionIds } = request;
    const { limit, expireAfterMs, leaseMs } = this.policy;
    const { records, index } = userKeys(userId);
    sendTogether(this.redis);
    const reply = await this.ask(
      this.redis.sgAdmit(
        records,
        index,
        this.now(),
        userId,
        sessionId,
        streamId,
        phase ?? '',
        phases,
        limit,
        expireAfterMs,
        leaseMs,
        ...endSessionIds,
      ),
    );
    switch (reply[0]) {
      case 1: {
        const [, now, created, live, [reserved, startedAt, at, version], former, expired] = reply;
        return admitted(userId, this.policy, now, {
          record: {
            status: reserved === 1 ? 'reserved' : 'permanent',
            sessionId,
            streamId,
            startedAt,
            lastActivityAt: now,
            phase: at,
            version,
          },
          created: created === 1,
          former: former ? { lastActivityAt: former[0], phase: former[1], streamId: former[2] } : undefined,
          live,
          expired: unflatten(expired),
        });
      }
      case 2:
        return { outcome: 'session-ended', endedAt: reply[1], reason: reply[2] };
      case 3: {
        const [, now, retryAt, holders] = reply;
        return { outcome: 'limit-reached', sessions: this.show(userId, holders, now), now, retryAt };
      }
      case 4:
        return { outcome: 'phase-not-found' };
    }
  }

  override async confirm(place: Place): Promise<void> {
    const { records } = userKeys(place.userId);
    await this.ask(this.redis.sgConfirm(records, place.sessionId, place.startedAt));
  }

  override async withdraw(place: Place): Promise<void> {
    const { records, index } = userKeys(place.userId);
    const { userId, sessionId, startedAt, version, former } = place;
    const undo = former ? [former.lastActivityAt, former.phase, former.streamId] : ['', '', ''];
    const { expireAfterMs, leaseMs } = this.policy;
    await this.ask(
      this.redis.sgWithdraw(
        records,
        index,
        userId,
        sessionId,
        startedAt,
        version,
        expireAfterMs,
        leaseMs,
        ...undo,
      ),
    );
  }

  override async list(userId: string): Promise<Session[]> {
    const { records } = userKeys(userId);
    const [now, ...flat] = await this.ask(
      this.redis.sgList(records, this.now(), this.policy.expireAfterMs, this.policy.leaseMs),
    );
    return this.show(userId, flat, now);
  }

  override async end(
    userId: string,
    sessionIds: readonly string[] | typeof ALL_SESSIONS,
    reason: EndReason,
  ): Promise<EndResult> {
    const { records } = userKeys(userId);
    const all = sessionIds === ALL_SESSIONS;
    const [now, ended, endedBefore] = await this.ask(
      this.redis.sgEnd(
        records,
        this.now(),
        reason,
        this.policy.expireAfterMs,
        this.policy.leaseMs,
        all ? 1 : 0,
        ...(all ? [] : sessionIds),
      ),
    );
    return { ended: this.show(userId, ended, now), endedBefore };
  }

  /** Starts at a random partition, so that sweepers of many instances meet seldom; where they meet, one claims. */
  override async expireIdle({
    maxSessions,
    signal,
  }: {
    maxSessions: number;
    signal?: AbortSignal;
  }): Promise<ExpireResult> {
    const expired: Session[] = [];
    const first = Math.floor(Math.random() * PARTITIONS);
    let waiting = Array.from({ length: PARTITIONS }, (_, offset) => (first + offset) % PARTITIONS);
    const stopped = (): boolean => signal?.aborted === true;
    while (waiting.length > 0 && expired.length < maxSessions && !stopped()) {
      const asked = waiting.slice(0, SWEEP_WIDTH);
      const steps = await Promise.allSettled(asked.map((partition) => this.expirePartition(partition)));
      const done = steps.map((step) => (step.status === 'fulfilled' ? step.value : undefined));
      expired.push(...done.flatMap((step) => step?.expired ?? []));
      const failed = steps.find((step) => step.status === 'rejected');
      // What was claimed must be reported, whatever failed beside it; the next sweep meets the failure again.
      if (failed && expired.length > 0) return { expired, more: true };
      if (failed) throw failed.reason;
      waiting = [...waiting.slice(SWEEP_WIDTH), ...asked.filter((_, position) => done[position]?.more)];
    }
    return { expired, more: waiting.length > 0 };
  }

  override async ping(): Promise<void> {
    await this.ask(this.redis.ping());
  }

  private async expirePartition(partition: number): Promise<ExpireResult> {
    const { index, recordsPrefix } = partitionKeys(partition);
    const { expireAfterMs, leaseMs } = this.policy;
    const [now, more, flat] = await this.ask(
      this.redis.sgExpire(
        index,
        this.now(),
        recordsPrefix,
        SWEEP_USERS,
        SWEEP_RECORDS,
        expireAfterMs,
        leaseMs,
      ),
    );
    const expired: Session[] = [];
    for (let at = 0; at < flat.length; at += 6)
      expired.push(...this.show(String(flat[at]), flat.slice(at + 1, at + 6), now));
    return { expired, more: more === 1 };
  }

  /** '' leaves the time to the server. */
  private now(): number | '' {
    return this.clock.storeNow() ?? '';
  }

  private show(userId: string, flat: readonly unknown[], now: number): Session[] {
    return unflatten(flat)
      .map((record) => toSession(userId, record, this.policy, now))
      .toSorted(oldestFirst);
  }

  private async ask<T>(reply: Promise<T>): Promise<T> {
    return reply.then(
      (value) => {
        this.availability.works();
        return value;
      },
      (cause: Error) => {
        // What Redis refuses is worth a word each time; that it is away is said once.
        if (isRefusal(cause)) throw new StoreUnavailableError(cause.message, { cause });
        this.availability.lost(cause.message);
        throw new StoreUnavailableError('Redis did not answer', { cause, announced: true });
      },
    );
  }
}

/** A reply has a session as so many values in a row. */
function unflatten(flat: readonly unknown[]): ShownRecord[] {
  const records: ShownRecord[] = [];
  for (let at = 0; at < flat.length; at += 5) {
    const [sessionId, streamId, startedAt, lastActivityAt, phase] = flat.slice(at, at + 5) as FlatSession;
    records.push({ sessionId, streamId, startedAt, lastActivityAt, phase });
  }
  return records;
}
