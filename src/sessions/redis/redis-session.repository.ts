import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { type Clock } from '../../clock.js';
import { type ALL_SESSIONS, type EndReason, type Policy, oldestFirst } from '../admission.js';
import {
  type EndResult,
  type Ledger,
  type Pause,
  SessionRepository,
  StoreUnavailableError,
  type SweepOptions,
  type SweepResult,
  type UserSessions,
  isAway,
} from '../session.repository.js';
import { KeptRefusals, MAX_HOLDERS } from '../session-events.js';
import {
  type Admission,
  type AdmissionRequest,
  type KeepAlive,
  type Place,
  type Session,
  type ShownRecord,
  admitted,
  toKeptSession,
  toSession,
} from '../session.js';
import { type Availability } from './availability.js';
import { ALL_PARTITIONS, type PartitionKeys, partitionKeys, userKeys } from './keys.js';
import { type LayoutChoice } from './layout/layout-choice.js';
import { type RedisLink } from './link.js';
import { type Losses } from './losses.js';
import { LastFigures, askPartitions, byServer } from './partitions.js';
import { type ScriptRunner } from './script.js';
import { admit } from './scripts/admit.js';
import { confirm } from './scripts/confirm.js';
import { end } from './scripts/end.js';
import { type ExpireAnswer, expire } from './scripts/expire.js';
import { keepAlive } from './scripts/keepalive.js';
import { list } from './scripts/list.js';
import { keepRefusal } from './scripts/keep-refusal.js';
import { noteActivity } from './scripts/note-activity.js';
import { type KeepingAnswer } from './scripts/replies.js';
import { pause } from './scripts/pause.js';
import { probeServer } from './scripts/probe.js';
import { paused } from './scripts/paused.js';
import { withdraw } from './scripts/withdraw.js';
import { type UnreadableValues } from './unreadable.js';

/**
 * A sweep starts with short steps, on many partitions at the same time. Redis runs the commands of one write without a
 * pause, and these steps together block it for less than a millisecond. From the first partition on that has more to
 * claim, the sweep runs one step at a time, so that requests get through in between. In a backlog all partitions have
 * something to claim, and sixteen steps at once delayed one request in fifty. A step takes Redis half a millisecond,
 * or a fifth of one in a shared sweep, which runs beside viewers.
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
const LEDGER_FIELDS = ['started', 'expired', 'ended', 'undone', 'unreadable'] as const;

/** The Redis store: one atomic script for each method, on the clock of the Redis server that holds the user. */
export class RedisSessionRepository extends SessionRepository implements OnModuleInit, OnApplicationShutdown {
  private readonly figures = new LastFigures<readonly (string | null)[]>();
  private checking: Promise<'ok' | 'degraded'> | undefined;
  private warnedOfEviction = false;
  private readonly keptRefusals = new KeptRefusals();

  constructor(
    private readonly link: RedisLink,
    private readonly scripts: ScriptRunner,
    private readonly policy: Policy,
    private readonly clock: Clock,
    private readonly layouts: LayoutChoice,
    private readonly unreadable: UnreadableValues,
    private readonly losses: Losses,
    private readonly availability: Availability,
  ) {
    super();
  }

  async onModuleInit(): Promise<void> {
    await this.link.attempted();
    await this.layouts.start();
    this.link.onReady(() => void this.inspect());
  }

  /** Runs last: the HTTP server has drained, so all confirmations were sent already. */
  async onApplicationShutdown(): Promise<void> {
    this.layouts.stop();
    await this.link.close();
  }

  override async admit(request: AdmissionRequest): Promise<Admission> {
    const { userId } = request;
    const answer = await admit(this.scripts, userKeys(userId), this.now(), request);
    switch (answer.outcome) {
      case 'admitted':
        return admitted(userId, this.policy, answer.now, answer);
      case 'limit-reached': {
        const { now, retryAt, holders } = answer;
        if (this.keptRefusals.isNew(request, now)) this.keepRefusal(request, now, holders);
        return { outcome: 'limit-reached', sessions: this.show(userId, holders, now), now, retryAt };
      }
      case 'session-ended':
      case 'too-far-ahead':
      case 'phase-not-found':
        return answer;
    }
  }

  override async confirm(place: Place): Promise<boolean> {
    return confirm(this.scripts, userKeys(place.userId), this.now(), place);
  }

  override async withdraw(place: Place): Promise<void> {
    await withdraw(this.scripts, userKeys(place.userId), this.now(), place);
  }

  override async keepAlive(userId: string, sessionId: string): Promise<KeepAlive> {
    return this.kept(
      userId,
      sessionId,
      await keepAlive(this.scripts, userKeys(userId), this.now(), { userId, sessionId }),
    );
  }

  override async noteActivity(userId: string, sessionId: string, at: number): Promise<KeepAlive> {
    return this.kept(
      userId,
      sessionId,
      await noteActivity(this.scripts, userKeys(userId), this.now(), { userId, sessionId, at }),
    );
  }

  override async list(userId: string): Promise<UserSessions> {
    const { now, quota, records, subject } = await list(this.scripts, userKeys(userId), this.now(), userId);
    return { quota, subject, sessions: this.show(userId, records, now) };
  }

  override async end(
    userId: string,
    sessionIds: readonly string[] | typeof ALL_SESSIONS,
    reason: EndReason,
  ): Promise<EndResult> {
    const wanted = { userId, sessionIds, reason };
    const { now, ended, endedBefore } = await end(this.scripts, userKeys(userId), this.now(), wanted);
    this.noteEnded(userId, sessionIds);
    return { ended: this.show(userId, ended, now), endedBefore };
  }

  /**
   * Starts at a random partition, so that sweeps of several instances seldom meet. Where they meet, one claims. A
   * server that does not answer is not asked again in this sweep, so that the partitions of other servers are swept in
   * time.
   */
  override async expireIdle({ maxSessions, signal, shared = false }: SweepOptions): Promise<SweepResult> {
    const first = Math.floor(Math.random() * ALL_PARTITIONS.length);
    const all = ALL_PARTITIONS.map((offset) => partitionKeys((first + offset) % ALL_PARTITIONS.length));
    const silent = new SilentServers(this.link);
    const partitions = shared ? await this.leaveResting(all, silent) : all;
    let expired = 0;
    const latenessMs: number[] = [];
    let isPaused = false;
    let held = false;
    const stopped = (): boolean => expired >= maxSessions || signal?.aborted === true;
    /** Runs one step on each of these partitions. Returns those that have more to claim now. */
    const step = async (asked: readonly PartitionKeys[], users: number): Promise<PartitionKeys[]> => {
      const answers = await this.expireSome(asked, users, silent);
      for (const answer of answers) {
        expired += answer?.expired ?? 0;
        latenessMs.push(...(answer?.latenessMs ?? []));
        held ||= answer?.more === 'later';
        isPaused ||= answer?.paused === true;
      }
      return asked.filter((_, at) => answers[at]?.more === 'now');
    };
    let rested = 0;
    /** Lets other work run between two steps. A shared sweep that claims much also sleeps: no caller waits for it. */
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
    this.losses.report();
    silent.throwIfAll(all);
    return { expired, latenessMs, more: held || waiting.length > 0, paused: isPaused };
  }

  override async pauseExpiry(wanted: Parameters<SessionRepository['pauseExpiry']>[0]): Promise<Pause> {
    const { given, missing } = await askPartitions((keys) => pause(this.scripts, keys, this.now(), wanted));
    const since = Math.min(...given.values());
    return markPartial({ since, by: wanted.by, until: wanted.until }, missing.length > 0);
  }

  override async resumeExpiry(): Promise<boolean> {
    const { missing } = await askPartitions(({ state }) => this.link.hdel(state, PAUSE_FIELDS));
    return missing.length === 0;
  }

  /** The pause of any partition: if Redis lost the pause of some, it still counts until sweeps are resumed. */
  override async expiryPause(): Promise<Pause | undefined> {
    const { given } = await askPartitions((keys) => paused(this.scripts, keys, this.now()));
    const pauses = [...given.values()].filter((one) => one !== undefined);
    const [first] = pauses.toSorted((a, b) => a.since - b.since);
    return first && markPartial(first, pauses.length < ALL_PARTITIONS.length);
  }

  override async ledger(): Promise<Ledger> {
    const states = await this.figures.ask(({ state }) => this.link.hmget(state, LEDGER_FIELDS));
    const total = (field: (typeof LEDGER_FIELDS)[number]): number =>
      states.reduce((sum, counts) => sum + Number(counts[LEDGER_FIELDS.indexOf(field)] ?? 0), 0);
    return {
      admitted: total('started'),
      expired: total('expired'),
      ended: total('ended'),
      undone: total('undone'),
      unreadable: total('unreadable'),
    };
  }

  /** Concurrent calls share one check, because every client may ask for the readiness. */
  override async check(): Promise<'ok' | 'degraded'> {
    this.checking ??= this.tryOut().finally(() => {
      this.checking = undefined;
    });
    return this.checking;
  }

  override async mayEvict(): Promise<boolean> {
    const memories = await this.link.info('memory');
    // The other policies drop only keys with an expiry, and the keys of sessions have none.
    return memories.some(
      (memory) =>
        memory.get('maxmemory') !== '0' && memory.get('maxmemory_policy')?.startsWith('allkeys') === true,
    );
  }

  /** Keeps the event of a refusal for watchers. The reply does not wait for it, and nothing depends on it. */
  private keepRefusal(request: AdmissionRequest, now: number, holders: readonly ShownRecord[]): void {
    const refusal = { ...request, holders: holders.toSorted(oldestFirst).slice(0, MAX_HOLDERS) };
    keepRefusal(this.scripts, userKeys(request.userId), now, refusal).catch(() => undefined);
  }

  /** Probes each server. A server whose new sessions wait in vain for a replica serves its running sessions. */
  private async tryOut(): Promise<'ok' | 'degraded'> {
    const asked = byServer(this.link, ALL_PARTITIONS.map(partitionKeys)).map(async (held) =>
      probeServer(this.scripts, this.link, held),
    );
    const replies = await Promise.allSettled(asked);
    const failures = replies.flatMap((reply) => (reply.status === 'rejected' ? [reply.reason as Error] : []));
    if (failures.length === asked.length) throw failures[0]!;
    const lacks = replies.flatMap((reply) => (reply.status === 'fulfilled' ? [reply.value] : []));
    const missing = [...new Set(lacks.flatMap(({ rights }) => rights))];
    if (missing.length > 0) {
      const more = missing.length > 3 ? ` and ${missing.length - 3} more` : '';
      const message = `NOPERM for ${missing.slice(0, 3).join(', ')}${more}`;
      throw new StoreUnavailableError(message, { announced: this.availability.refused(message) });
    }
    if (failures.length > 0 || lacks.some(({ replica }) => replica)) return 'degraded';
    this.availability.complete();
    return 'ok';
  }

  /** Logs problems of this Redis before requests meet them. */
  private async inspect(): Promise<void> {
    await this.check().catch(() => undefined);
    const mayEvict = await this.mayEvict().catch(() => false);
    if (mayEvict && !this.warnedOfEviction)
      this.availability.log.warn(
        'Redis drops sessions when its memory is full: set its maxmemory-policy to noeviction',
      );
    this.warnedOfEviction = mayEvict;
  }

  /** The partitions that no instance has just swept completely. To read this costs a quarter of a sweep. */
  private async leaveResting(
    partitions: readonly PartitionKeys[],
    silent: SilentServers,
  ): Promise<readonly PartitionKeys[]> {
    const resting = new Set<PartitionKeys>();
    await Promise.all(
      byServer(this.link, partitions).map(async (held) => {
        const [one] = held;
        try {
          // Use the clock of the server that wrote the rests, because the clocks of servers may differ.
          const [now, rests] = await Promise.all([
            this.clock.storeNow() ?? this.link.time(one!.state),
            Promise.all(held.map(({ state }) => this.link.hget(state, 'rest'))),
          ]);
          for (const [at, keys] of held.entries()) {
            const left = Number(rests[at]) - now;
            // If the clock was set back, a rest must not last for hours.
            if (left > 0 && left <= REST_MS) resting.add(keys);
          }
        } catch (error) {
          silent.failed(one!, error);
        }
      }),
    );
    return partitions.filter((keys) => !resting.has(keys));
  }

  /**
   * Runs one step on each of these partitions. The answer is undefined if a key of the partition has a wrong type,
   * which is logged, or if its server does not answer. Neither blocks the other partitions.
   */
  private async expireSome(
    partitions: readonly PartitionKeys[],
    users: number,
    silent: SilentServers,
  ): Promise<readonly (ExpireAnswer | undefined)[]> {
    const settled = await Promise.allSettled(
      partitions.map(async (keys) =>
        silent.has(keys) ? undefined : expire(this.scripts, keys, this.now(), users),
      ),
    );
    return settled.map((result, at) => {
      const keys = partitions[at]!;
      if (result.status === 'fulfilled') {
        if (result.value) {
          const { now, total } = result.value.unreadable;
          this.unreadable.saw(keys.partition, now, total);
          this.losses.saw(keys.partition, result.value);
        }
        return result.value;
      }
      if (isWrongType(result.reason)) this.unreadable.met('key');
      else silent.failed(keys, result.reason);
      return undefined;
    });
  }

  /** '' makes the Redis server read its own clock. */
  private now(): number | '' {
    return this.clock.storeNow() ?? '';
  }

  private kept(userId: string, sessionId: string, answer: KeepingAnswer): KeepAlive {
    if (answer.outcome === 'session-ended') this.noteEnded(userId, [sessionId]);
    if (answer.outcome !== 'kept') return answer;
    return { outcome: 'kept', session: toKeptSession(userId, answer.record, this.policy, answer.now) };
  }

  private show(userId: string, records: readonly ShownRecord[], now: number): Session[] {
    return records.map((record) => toSession(userId, record, this.policy, now)).toSorted(oldestFirst);
  }
}

/** The servers that did not answer in this sweep. */
class SilentServers {
  private readonly failures = new Map<string, unknown>();

  constructor(private readonly link: RedisLink) {}

  has({ state }: PartitionKeys): boolean {
    return this.failures.size > 0 && this.failures.has(this.link.holderOf(state));
  }

  /** Notes a server that did not answer. Throws every other failure. */
  failed({ state }: PartitionKeys, reason: unknown): void {
    if (!isAway(reason)) throw reason;
    this.failures.set(this.link.holderOf(state), reason);
  }

  throwIfAll(partitions: readonly PartitionKeys[]): void {
    if (partitions.every((keys) => this.has(keys))) throw this.failures.values().next().value;
  }
}

function markPartial(whole: Pause, isPartial: boolean): Pause {
  return isPartial ? { ...whole, partial: true } : whole;
}

function isWrongType(error: unknown): boolean {
  return error instanceof StoreUnavailableError && error.message.startsWith('WRONGTYPE');
}
