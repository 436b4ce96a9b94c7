import { type Policy, type PhaseWindow } from '../../src/sessions/admission.js';
import { type Device } from '../../src/sessions/device.js';

/**
 * A history: what clients asked of the service and what it answered, one JSON object a line (NDJSON). The first line is
 * the run, the last one the end, and between them requests and faults in the order in which they were over.
 * docs/proof.md describes the format. Instants are Unix milliseconds, except in bodies, which are as the API sent them.
 */
export type Line = RunLine | RequestLine | FaultLine | LossLine | EndLine;

/** How the history was made, and all that the rule needs to know. */
export interface RunLine {
  readonly type: 'run';
  readonly format: 1;
  readonly seed: number;
  readonly instances: number;
  readonly policy: Policy;
  /** The phases of each stream; null for a stream that does not exist. */
  readonly streams: Readonly<Record<string, PhaseWindow | null>>;
  /** How long after its client gave up a request may still take effect. */
  readonly lateMs: number;
  /** The same after a reply of 503: the instance has given up, and only Redis may still have its command. */
  readonly lateAfter503Ms?: number;
  /** ADMIT_DURABILITY of the instances; absent: `primary`. */
  readonly durability?: Durability;
}

export const DURABILITIES = ['primary', 'replicated'] as const;
export type Durability = (typeof DURABILITIES)[number];

export interface RequestLine {
  readonly type: 'request';
  /** Counts from 0 without gaps, so that a lost line is noticed. */
  readonly n: number;
  readonly user: string;
  readonly instance: number;
  readonly sent: number;
  /** When the reply was complete, or when the client gave up. */
  readonly received: number;
  readonly ask: Question;
  /** Undefined if the client did not receive the whole reply: then the request may have taken effect or not. */
  readonly reply?: Reply;
  /** Of a simulation only. */
  readonly observed?: Observed;
}

/** What a simulation saw of a request: the store took it at `sent`, whether or not there is a reply. */
export interface Observed {
  /** How the service settles the place: it does not if it got no answer of the store. */
  readonly settles: 'confirm' | 'withdraw' | 'never';
  /** When it did so at the earliest and at the latest; `by` is absent if the store was away meanwhile. */
  readonly from: number;
  readonly by?: number;
}

/** `limit` is the plan in the token of the request. */
export type Question = { readonly limit: number } & (
  | {
      readonly do: 'phase';
      readonly session: string;
      readonly stream: string;
      readonly phase?: number;
      readonly endSessions?: readonly string[];
      readonly device?: Device;
    }
  | { readonly do: 'keepalive'; readonly session: string }
  | { readonly do: 'list' }
  /** Without a session: all sessions of the user. */
  | { readonly do: 'end'; readonly session?: string; readonly reason: 'user' | 'left' | 'operator' }
);

export interface Reply {
  readonly status: number;
  readonly body?: ReplyBody;
}

/** The members of replies and problems that the rule decides, as the API names them. */
export interface ReplyBody {
  readonly code?: string;
  readonly session?: SessionBody;
  /** In the reply of a phase the number of live sessions and the limit; in others the sessions themselves. */
  readonly sessions?: readonly SessionBody[] | { readonly live: number; readonly limit: number };
  /** The index of the phase that was handed out. */
  readonly phase?: number;
  readonly limit?: number;
  readonly retry_after_seconds?: number;
  readonly ended_at?: string;
  readonly reason?: string;
  readonly replaced_by?: { readonly session_id: string; readonly device?: Device };
}

export interface SessionBody {
  readonly session_id: string;
  readonly user_id: string;
  readonly stream_id: string;
  readonly state: string;
  readonly started_at: string;
  readonly last_activity_at: string;
  readonly plays_until: string;
  readonly idle_at: string;
  readonly expires_at: string;
  readonly phase: number;
  readonly device?: Device;
}

/** What broke. The checker only needs to know when an instance was killed. */
export interface FaultLine {
  readonly type: 'fault';
  readonly at: number;
  readonly what: 'instance killed' | 'instance started' | 'Redis connections cut';
  readonly instance?: number;
}

/** A primary was killed, and its replica became the primary. All instants are of one clock. */
export interface Loss {
  /** Everything that the primary wrote before this instant is on the replica. */
  readonly kept: number;
  /** The primary wrote until it was killed, between `at` and `gone`. */
  readonly at: number;
  readonly gone: number;
  /** Until then no server wrote for these users. */
  readonly promoted: number;
  /** The first and the last hash slot that the primary of a cluster held; absent: all. */
  readonly slots?: readonly [number, number];
}

export interface LossLine extends Loss {
  readonly type: 'loss';
}

interface EndLine {
  readonly type: 'end';
  readonly requests: number;
}

const MEMBERS = [
  'code',
  'session',
  'sessions',
  'limit',
  'retry_after_seconds',
  'ended_at',
  'reason',
  'replaced_by',
] as const;

/** What a history keeps of a body: not the URLs, and not the texts for people. */
export function bodyOf(json: unknown): ReplyBody {
  const given = json as Record<string, unknown>;
  const phase = given.phase as { readonly index: number } | undefined;
  return {
    ...Object.fromEntries(MEMBERS.filter((name) => name in given).map((name) => [name, given[name]])),
    ...(phase === undefined ? {} : { phase: phase.index }),
  };
}
