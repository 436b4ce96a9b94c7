import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { type IncomingMessage } from 'node:http';
import { type OpenSpan } from '../observability/tracing.js';
import { type ProblemCode } from './problem.js';

/** Ids of requests that callers may choose. Anything else could forge or flood lines of the log. */
const REQUEST_ID = /^[\w.~:@+=/-]{1,128}$/;

/** The id of a request: the one in `x-request-id` if that is of a sane form, or a new one. */
export function requestIdOf({ headers }: IncomingMessage): string {
  const id = headers['x-request-id'];
  return typeof id === 'string' && REQUEST_ID.test(id) ? id : randomUUID();
}

/** What the line of a request in the log tells about the decision on it. */
export interface Decision {
  readonly decision:
    | 'admitted'
    | 'readmitted'
    | 'moved'
    | 'renewed'
    | 'kept'
    | 'refused'
    | 'ended'
    | 'too-far-ahead'
    | 'phase-not-found';
  readonly session_id?: string | undefined;
  readonly stream_id?: string | undefined;
  readonly device_id?: string | undefined;
  /** The number of sessions that the user may hold. */
  readonly limit?: number | undefined;
  /** The number of sessions that the user holds. */
  readonly live?: number | undefined;
  /** Whether this instance decided without the store, which is away. */
  readonly degraded?: true | undefined;
}

/** What is known about the request that is being handled. */
export interface RequestNotes {
  readonly reqId: string;
  /** The trace of the request. If traces are off: that of the caller, from `traceparent` or `x-amzn-trace-id`. */
  trace: string | undefined;
  /** What the caller sent, if the request has another trace. */
  callerTrace?: string | undefined;
  /** The span of the request; undefined if traces are off. */
  span?: OpenSpan;
  decision?: Decision;
  problem?: ProblemCode;
}

const current = new AsyncLocalStorage<RequestNotes>();

/** Runs a function, and everything that it starts, as part of a request. */
export function runWithNotes(notes: RequestNotes, run: () => void): void {
  current.run(notes, run);
}

/** The notes on the current request; undefined outside of requests. */
export function currentNotes(): RequestNotes | undefined {
  return current.getStore();
}

/**
 * The span of the current request, for spans below it: `currentSpan()?.child(…)` costs nothing but this look-up if traces are
 * off. Undefined then, and outside of requests.
 */
export function currentSpan(): OpenSpan | undefined {
  return current.getStore()?.span;
}

/** Notes the decision on the current request, for its line in the log. The last decision counts. */
export function noteDecision(decision: Decision): void {
  const notes = current.getStore();
  if (notes !== undefined) notes.decision = decision;
}

/** Notes the problem that the current request is answered with. */
export function noteProblem(code: ProblemCode): void {
  const notes = current.getStore();
  if (notes !== undefined) notes.problem = code;
}
