import { randomUUID } from 'node:crypto';
import { applyDecorators, type BeforeApplicationShutdown, Injectable, Logger } from '@nestjs/common';
import { ApiHeader } from '@nestjs/swagger';
import { type FastifyRequest } from 'fastify';
import { operatorOf } from '../auth/access.js';
import { Clock } from '../clock.js';
import { ApiProblems } from '../http/docs.js';
import { instant } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import {
  type AuditAction,
  type AuditDetails,
  type AuditEntry,
  AuditLog,
  type AuditTarget,
  MAX_AGE_MS,
} from './audit-log.js';

const NOTE_HEADER = 'x-audit-note';
/** In Unicode code points. */
const MAX_NOTE_LENGTH = 200;
const NOTE = new RegExp(`^\\P{Cc}{0,${MAX_NOTE_LENGTH}}$`, 'u');
const NOTE_RULE = `must be percent-encoded UTF-8 (encodeURIComponent) of at most ${MAX_NOTE_LENGTH} characters, without control characters`;

/** The most entries that wait in this instance while the store does not take them. */
const MAX_WAITING = 1_000;
const RETRY_MS = 1_000;

/** What a change replaced, and what holds since. */
interface Effect {
  readonly before: AuditDetails | null;
  readonly after: AuditDetails | null;
}

/** A change that a caller asks for. */
interface Change {
  /**
   * Makes the change. If an operator asked for it, it is recorded before this resolves: with its effect, or not at all if
   * `effectOf` returns undefined, which means that nothing changed. If `act` fails other than by a problem, the change
   * may have been made, so that it is recorded with the outcome `unknown`.
   */
  run<T>(act: () => Promise<T>, effectOf: (result: T) => Effect | undefined): Promise<T>;
}

/** Documents the note on a route that changes something for operators. */
export function AcceptsAuditNote() {
  return applyDecorators(
    ApiHeader({
      name: 'X-Audit-Note',
      required: false,
      description:
        `Why the operator does this, for the audit: UTF-8, percent-encoded, at most ${MAX_NOTE_LENGTH} characters. ` +
        'It is ignored if the token is that of a viewer.',
      schema: { type: 'string', examples: ['Ticket%204711%3A%20stolen%20phone'] },
    }),
    ApiProblems('invalid-request'),
  );
}

/**
 * Records what operators change. An entry is made after its change took effect. If the store does not take the entry, the
 * change stands, and the entry waits in this instance until the store does.
 */
@Injectable()
export class Audit implements BeforeApplicationShutdown {
  private readonly log = new Logger('Audit');
  private readonly waiting = new Set<AuditEntry>();
  private storing: Promise<void> | undefined;
  private retry: NodeJS.Timeout | undefined;
  private failing = false;

  constructor(
    private readonly entries: AuditLog,
    private readonly clock: Clock,
  ) {}

  /** Throws the problem 422 if an operator gave a note that is not valid. Changes of viewers are not recorded. */
  begin(request: FastifyRequest, action: AuditAction, target: AuditTarget): Change {
    const operator = operatorOf(request);
    if (operator === undefined) return { run: async (act) => act() };
    const note = noteOf(request);
    const record = async (outcome: AuditEntry['outcome'], { before, after }: Effect): Promise<void> =>
      this.record({
        id: randomUUID(),
        at: instant(this.clock.now()),
        by: operator.name ?? null,
        scope: operator.scope,
        action,
        target,
        before,
        after,
        outcome,
        note,
        request_id: request.id,
      });
    return {
      run: async (act, effectOf) => {
        const result = await act().catch(async (error: unknown) => {
          if (!(error instanceof Problem)) await record('unknown', { before: null, after: null });
          throw error;
        });
        const effect = effectOf(result);
        if (effect !== undefined) await record('done', effect);
        return result;
      },
    };
  }

  /** The newest entries of these instants that match, newest first, at most `limit`. Rejects with StoreUnavailableError. */
  async newest(
    {
      since = 0,
      until = Number.MAX_SAFE_INTEGER,
    }: { since?: number | undefined; until?: number | undefined },
    limit: number,
    matches: (entry: AuditEntry) => boolean,
  ): Promise<readonly AuditEntry[]> {
    const found: AuditEntry[] = [];
    const oldest = this.clock.now() - MAX_AGE_MS;
    for await (const entry of this.entries.read({ since: Math.max(since, oldest), until })) {
      if (matches(entry)) found.push(entry);
      if (found.length === limit) break;
    }
    return found;
  }

  /** Runs before the connection to the store is closed. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.store();
    clearTimeout(this.retry);
    for (const entry of this.waiting) this.lose(entry);
  }

  /** Never rejects. */
  private async record(entry: AuditEntry): Promise<void> {
    this.waiting.add(entry);
    if (this.waiting.size > MAX_WAITING) {
      const [oldest] = this.waiting;
      this.lose(oldest!);
    }
    await this.store();
    // The former round may have ended when this entry came.
    if (this.waiting.has(entry) && !this.failing) await this.store();
  }

  /** Stores all entries that wait, or as many as the store takes. Never rejects. */
  private async store(): Promise<void> {
    this.storing ??= this.storeWaiting().finally(() => {
      this.storing = undefined;
    });
    await this.storing;
  }

  private async storeWaiting(): Promise<void> {
    clearTimeout(this.retry);
    try {
      for (const entry of this.waiting) {
        await this.entries.append(entry);
        this.waiting.delete(entry);
      }
      if (this.failing) this.log.log('The store takes entries of the audit again');
      this.failing = false;
    } catch (error) {
      if (!this.failing)
        this.log.error({
          reason: (error as Error).message,
          msg: 'The store does not take an entry of the audit; entries wait in this instance until it does',
        });
      this.failing = true;
      this.retry = setTimeout(() => void this.store(), RETRY_MS).unref();
    }
  }

  /** The line names no user: the line of the request, with the same id, does so as LOG_USER_IDS says. */
  private lose(entry: AuditEntry): void {
    this.waiting.delete(entry);
    const { action, by, request_id: reqId } = entry;
    this.log.error({ action, by, reqId, msg: 'an entry of the audit is lost: the store did not take it' });
  }
}

/** The note of an operator; null without one. Throws the problem 422 if it is not valid. */
function noteOf({ headers }: FastifyRequest): string | null {
  const text = headers[NOTE_HEADER];
  if (text === undefined || text === '') return null;
  const note = typeof text === 'string' ? decoded(text) : undefined;
  if (note === undefined || !NOTE.test(note))
    throw Problem.invalidRequest([{ field: NOTE_HEADER, message: NOTE_RULE }]);
  return note;
}

/** Undefined if the text is not percent-encoded UTF-8. Node reads bytes above ASCII in headers as ISO 8859-1. */
function decoded(text: string): string | undefined {
  if (!/^[ -~]*$/.test(text)) return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
