import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { type Redis } from 'ioredis';
import { type Clock } from '../../clock.js';
import { type EndReason, type Policy, ALL_SESSIONS, oldestFirst } from '../admission.js';
import { type EventType } from '../session-events.js';
import {
  type EndResult,
  type Ledger,
  type Pause,
  SessionRepository,
  type SweepOptions,
  type SweepResult,
} from '../session.repository.js';
import {
  type Admission,
  type AdmissionRequest,
  type KeepAlive,
  type Place,
  type Session,
  type ShownRecord,
  admitted,
  toSession,
} from '../session.js';
import { type Availability, ask, askAll, firstAttempt, sendTogether } from './link.js';
import { PARTITIONS, type PartitionKeys, partitionKeys, userKeys } from './keys.js';
import { type FlatSession } from './redis-scripts.js';

/**
 * A sweep first asks every partition for a little, many at once: Redis runs what comes in one go without a pause, and
 * these together hold it up for less than a millisecond. From the first that has more on, it goes by steps, one at a
 * time, so that requests get in between: in a backlog all would have something to claim, and sixteen at once were felt
 * by one request in fifty. A step takes Redis half a millisecond, and a fifth of one where it shares Redis with viewers.
 */
const FIRST_WIDTH = 16;
const FIRST_USERS = 4;
const STEP_USERS = 20;
const SHARED_STEP_USERS = 8;
const REST_AFTER = 40;
const GIVE_WAY_MS = 2;
/** REST of expire.lua. */
export const REST_MS = 800;

const PAUSE_FIELDS = ['pause', 'pause_since', 'pause_by', 'pause_until'] as const;
const LEDGER_FIELDS = ['started', 'expired', 'ended', 'undone'] as const;

/** The same rule as one atomic script per verb, on the clock of the Redis server. */
export class RedisSessionRepository extends SessionRepository implements OnModuleInit, OnApplicationShutdown {
  /** The events for the outbox, as events.lua takes them. */
  private readonly wanted: string;

  constructor(
    private readonly redis: Redis,
    private readonly policy: Policy,
    private readonly clock: Clock,
    private readonly availability: Availability,
    wanted: readonly EventType[],
  ) {
    super();
    this.wanted =
      wanted.length === 0 ? '' : ` ${wanted.map((type) => type.replace('session.', '')).join(' ')} `;
  }

  async onModuleInit(): Promise<void> {
    await firstAttempt(this.redis);
  }

  /** Last of all: the server has drained, so that every confirmation is on its way already. */
  async onApplicationShutdown(): Promise<void> {
    await this.redis.quit().catch(() => this.redis.disconnect());
  }

  override async admit(request: AdmissionRequest): Promise<Admission> {
    const { userId, sessionId, streamId, phase, window, endSessionIds, quota } = request;
    const { expireAfterMs, leaseMs } = this.policy;
    const { records, index, ring, state, buckets, outbox, bucket } = userKeys(userId);
    sendTogether(this.redis);
    const reply = await this.ask(
      this.redis.sgAdmit(
        records,
        index,
        ring,
        state,
        buckets,
        outbox,
        this.now(),
        userId,
        sessionId,
        streamId,
        phase ?? '',
        window?.end ?? 0,
        quota.maxSessions,
        expireAfterMs,
        leaseMs,
        this.wanted,
        bucket,
        window?.live === true ? window.oldest : '',
        window?.live === true ? window.start : '',
        ...endSessionIds,
      ),
    );
    switch (reply[0]) {
      case 1: {
        const [, now, created, live, [reserved, startedAt, at, version], former] = reply;
        return admitted(userId, this.policy, now, {
          record: {
            status: reserved === 1 ? 'reserved' : 'permanent',
            sessionId,
            streamId,
            startedAt,
            lastActivityAt: now,
            playsUntil: now + this.policy.idleAfterMs,
            device: undefined,
            phase: at,
            version,
          },
          created: created === 1,
          former: former
            ? {
                lastActivityAt: former[0],
                phase: former[1],
                streamId: former[2],
                playsUntil: former[0],
                ahead: 0,
                run: 1,
                pausedMs: former[3],
              }
            : undefined,
          live,
        });
      }
      case 2:
        return { outcome: 'session-ended', endedAt: reply[1], reason: reply[2], replacedBy: undefined };
      case 3: {
        const [, now, retryAt, holders] = reply;
        return { outcome: 'limit-reached', sessions: this.show(userId, holders, now), now, retryAt };
      }
      case 4:
        return { outcome: 'phase-not-found' };
    }
  }

  override async confirm({ userId, sessionId, startedAt }: Place): Promise<void> {
    const { records, ring, state, outbox } = userKeys(userId);
    await this.ask(
      this.redis.sgConfirm(
        records,
        ring,
        state,
        outbox,
        this.now(),
        userId,
        sessionId,
        startedAt,
        this.wanted,
      ),
    );
  }

  override async withdraw(place: Place): Promise<void> {
    const { userId, sessionId, startedAt, version, former } = place;
    const { records, index, ring, state, buckets, outbox, bucket } = userKeys(userId);
    const undo = former
      ? [former.lastActivityAt, former.phase, former.streamId, former.pausedMs]
      : ['', '', '', ''];
    const { expireAfterMs, leaseMs } = this.policy;
    await this.ask(
      this.redis.sgWithdraw(
        records,
        index,
        ring,
        state,
        buckets,
        outbox,
        this.now(),
        userId,
        sessionId,
        startedAt,
        version,
        expireAfterMs,
        leaseMs,
        ...undo,
        bucket,
        this.wanted,
      ),
    );
  }

  override async keepAlive(userId: string, sessionId: string): Promise<KeepAlive> {
    const { expireAfterMs, leaseMs, maxPauseMs } = this.policy;
    const reply = await this.ask(
      this.redis.sgKeepalive(
        userKeys(userId).records,
        this.now(),
        userId,
        sessionId,
        expireAfterMs,
        leaseMs,
        maxPauseMs,
      ),
    );
    switch (reply[0]) {
      case 1: {
        const [, now, ...flat] = reply;
        return { outcome: 'kept', session: this.show(userId, flat, now)[0]! };
      }
      case 2:
        return { outcome: 'session-ended', endedAt: reply[1], reason: reply[2], replacedBy: undefined };
      case 3:
        return { outcome: 'session-not-found' };
    }
  }

  override async list(userId: string): Promise<Session[]> {
    const { records } = userKeys(userId);
    const [now, ...flat] = await this.ask(
      this.redis.sgList(records, this.now(), userId, this.policy.expireAfterMs, this.policy.leaseMs),
    );
    return this.show(userId, flat, now);
  }

  override async noteActivity(): Promise<KeepAlive> {
    return { outcome: 'session-not-found' };
  }

  override async end(
    userId: string,
    sessionIds: readonly string[] | typeof ALL_SESSIONS,
    reason: EndReason,
  ): Promise<EndResult> {
    const { records, ring, state, outbox } = userKeys(userId);
    const all = sessionIds === ALL_SESSIONS;
    const [now, ended, endedBefore] = await this.ask(
      this.redis.sgEnd(
        records,
        ring,
        state,
        outbox,
        this.now(),
        userId,
        reason,
        this.policy.expireAfterMs,
        this.policy.leaseMs,
        this.wanted,
        all ? 1 : 0,
        ...(all ? [] : sessionIds),
      ),
    );
    return { ended: this.show(userId, ended, now), endedBefore };
  }

  /** Starts at a random partition, so that sweepers of many instances meet seldom; where they meet, one claims. */
  override async expireIdle({ maxSessions, signal, shared = false }: SweepOptions): Promise<SweepResult> {
    const first = Math.floor(Math.random() * PARTITIONS);
    const all = Array.from({ length: PARTITIONS }, (_, offset) =>
      partitionKeys((first + offset) % PARTITIONS),
    );
    const partitions = shared ? await this.leaveResting(all) : all;
    let expired = 0;
    let paused = false;
    let held = false;
    const stopped = (): boolean => expired >= maxSessions || signal?.aborted === true;
    /** Asks these and gives those that have more to claim now. */
    const step = async (asked: readonly PartitionKeys[], users: number): Promise<PartitionKeys[]> => {
      const replies = await askAll(
        this.availability,
        this.redis,
        asked.map((keys) => () => this.expireSome(keys, users)),
      );
      for (const [claimed, more, isPaused] of replies) {
        expired += claimed;
        held ||= more === 2;
        paused ||= isPaused === 1;
      }
      return asked.filter((_, at) => replies[at]![1] === 1);
    };
    let rested = 0;
    /** Other work gets in between as well; and where nobody waits for the sweep and it claims much, as much as it likes. */
    const giveWay = async (): Promise<void> => {
      if (!shared || expired - rested < REST_AFTER) return nextTurn();
      rested = expired;
      await sleep(GIVE_WAY_MS);
    };
    const unfinished: PartitionKeys[] = [];
    let at = 0;
    for (; at < partitions.length && unfinished.length === 0 && !stopped(); at += FIRST_WIDTH)
      unfinished.push(...(await step(partitions.slice(at, at + FIRST_WIDTH), FIRST_USERS)));
    const waiting = [...partitions.slice(at), ...unfinished];
    while (waiting.length > 0 && !stopped()) {
      await giveWay();
      waiting.push(...(await step([waiting.shift()!], shared ? SHARED_STEP_USERS : STEP_USERS)));
    }
    return { expired, more: held || waiting.length > 0, paused };
  }

  override async pauseExpiry({ by, until }: Parameters<SessionRepository['pauseExpiry']>[0]): Promise<Pause> {
    const since = (await this.expiryPause())?.since ?? (await this.time());
    await this.askEach(({ state }) => this.redis.sgPause(state, since, by ?? '', until ?? ''));
    return { since, by, until };
  }

  override async resumeExpiry(): Promise<void> {
    await this.askEach(({ state }) => this.redis.hdel(state, ...PAUSE_FIELDS));
  }

  /** Any partition tells: a pause that Redis lost half of is one still, until it is resumed. */
  override async expiryPause(): Promise<Pause | undefined> {
    const [now, states] = await Promise.all([
      this.time(),
      this.askEach(({ state }) => this.redis.hmget(state, ...PAUSE_FIELDS)),
    ]);
    for (const [pause, since, by, until] of states)
      if (pause && (!until || now < Number(until)))
        return { since: Number(since), by: by || undefined, until: until ? Number(until) : undefined };
    return undefined;
  }

  override async ledger(): Promise<Ledger> {
    const states = await this.askEach(({ state }) => this.redis.hmget(state, ...LEDGER_FIELDS));
    const total = (field: (typeof LEDGER_FIELDS)[number]): number =>
      states.reduce((sum, counts) => sum + Number(counts[LEDGER_FIELDS.indexOf(field)] ?? 0), 0);
    return {
      admitted: total('started'),
      expired: total('expired'),
      ended: total('ended'),
      undone: total('undone'),
      unreadable: 0,
    };
  }

  override async ping(): Promise<void> {
    await this.ask(this.redis.ping());
  }

  /** Without those that somebody swept to the end just now: to ask is a quarter of the work of a sweep. */
  private async leaveResting(partitions: readonly PartitionKeys[]): Promise<readonly PartitionKeys[]> {
    const now = await this.time();
    const rests = await askAll(
      this.availability,
      this.redis,
      partitions.map(
        ({ state }) =>
          () =>
            this.redis.hget(state, 'rest'),
      ),
    );
    // A clock that was set back must not make a rest of hours.
    return partitions.filter((_, at) => !(now < Number(rests[at]) && now >= Number(rests[at]) - REST_MS));
  }

  private async expireSome(
    { state, ring, buckets, outbox, recordsPrefix, indexPrefix }: PartitionKeys,
    users: number,
  ): ReturnType<Redis['sgExpire']> {
    const { expireAfterMs, leaseMs, idleAfterMs } = this.policy;
    return this.redis.sgExpire(
      state,
      ring,
      buckets,
      outbox,
      this.now(),
      recordsPrefix,
      indexPrefix,
      users,
      expireAfterMs,
      leaseMs,
      idleAfterMs,
      this.wanted,
    );
  }

  /** The store's time, in Unix milliseconds. */
  private async time(): Promise<number> {
    const given = this.clock.storeNow();
    if (given !== undefined) return given;
    const [seconds, micros] = await this.ask(this.redis.time());
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
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
    return ask(this.availability, reply);
  }

  private async askEach<T>(command: (keys: PartitionKeys) => Promise<T>): Promise<T[]> {
    return askAll(
      this.availability,
      this.redis,
      Array.from({ length: PARTITIONS }, (_, at) => () => command(partitionKeys(at))),
    );
  }
}

/** A reply has a session as so many values in a row. */
function unflatten(flat: readonly unknown[]): ShownRecord[] {
  const records: ShownRecord[] = [];
  for (let at = 0; at < flat.length; at += 5) {
    const [sessionId, streamId, startedAt, lastActivityAt, phase] = flat.slice(at, at + 5) as FlatSession;
    records.push({
      sessionId,
      streamId,
      startedAt,
      lastActivityAt,
      playsUntil: lastActivityAt,
      phase,
      device: undefined,
    });
  }
  return records;
}
