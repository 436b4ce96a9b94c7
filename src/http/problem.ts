import { HttpException } from '@nestjs/common';
import { type Static, type TObject, type TSchema, Type } from '@sinclair/typebox';
import { component, object, oneOfTexts } from './fields.js';

/**
 * Every error of the API, as problem details (RFC 9457). docs/problems.md explains each of them; a test checks that
 * both lists are the same.
 */
export const PROBLEMS = {
  'malformed-request': { status: 400, title: 'The request cannot be read' },
  unauthorized: { status: 401, title: 'A token is needed' },
  'token-unusable': { status: 401, title: 'The token names no usable user, device or plan' },
  'not-your-session': { status: 403, title: 'This is not yours to ask for' },
  forbidden: { status: 403, title: 'The token does not allow this' },
  'url-invalid': { status: 403, title: 'This URL was not signed by us' },
  'url-expired': { status: 403, title: 'This URL has expired' },
  'not-found': { status: 404, title: 'There is nothing at this path' },
  'stream-not-found': { status: 404, title: 'There is no such stream' },
  'phase-not-found': { status: 404, title: 'The stream has no such phase' },
  'session-not-found': { status: 404, title: 'The user holds no such session' },
  'method-not-allowed': { status: 405, title: 'The path does not take this method' },
  'request-timeout': { status: 408, title: 'The request took too long to arrive' },
  'session-limit-reached': { status: 409, title: 'All places of this user are taken' },
  'session-ended': { status: 410, title: 'This session was ended' },
  'precondition-failed': { status: 412, title: 'A condition of the request does not hold' },
  'payload-too-large': { status: 413, title: 'The request body is too large' },
  'unsupported-media-type': { status: 415, title: 'The request body is not JSON' },
  'range-not-satisfiable': { status: 416, title: 'The resource has no such range' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met' },
  'invalid-request': { status: 422, title: 'The request is not valid' },
  'too-far-ahead': { status: 429, title: 'The session was handed out enough for now' },
  'rate-limited': { status: 429, title: 'Asked too often' },
  'headers-too-large': { status: 431, title: 'The path and headers are too large' },
  'internal-error': { status: 500, title: 'Something went wrong on our side' },
  'origin-unavailable': { status: 502, title: 'The origin of the stream failed' },
  'keys-unavailable': { status: 503, title: 'Tokens cannot be checked right now' },
  'store-unavailable': { status: 503, title: 'Sessions cannot be checked right now' },
  'not-ready': { status: 503, title: 'The service is not ready' },
} as const;

export type ProblemCode = keyof typeof PROBLEMS;

const FIELD_ERROR = component('FieldError', { field: Type.String(), message: Type.String() });
export type FieldError = Static<typeof FIELD_ERROR>;

const INVALID_REQUEST = object({ errors: Type.Array(FIELD_ERROR, { minItems: 1 }) });
type InvalidRequestMembers = Static<typeof INVALID_REQUEST>;

/** The `type` of a problem. It is stable, so that clients can compare it. It is not an address to fetch. */
function problemType(code: ProblemCode): string {
  return `urn:streamgate:problem:${code}`;
}

/** The members that all problems have. Clients distinguish problems by `code` or `type`. */
const PROBLEM = Type.Object(
  {
    type: Type.String({ format: 'uri', description: 'Stable, to compare and not to fetch.' }),
    title: Type.String(),
    status: Type.Integer({ description: 'The status code of the reply.' }),
    detail: Type.String({ description: 'What to do about it.' }),
    instance: Type.String({ description: "The request's id, as in the log and in X-Request-Id." }),
    code: oneOfTexts(Object.keys(PROBLEMS) as ProblemCode[]),
  },
  { title: 'Problem', description: 'An error, as problem details (RFC 9457).' },
);

/**
 * The named component of a problem, such as `SessionEnded` for `session-ended`. `members` are those beyond RFC 9457.
 */
export function problemSchema(code: ProblemCode, members?: TObject): TSchema {
  const further = code === 'invalid-request' ? INVALID_REQUEST : members;
  const own = Type.Object({
    type: Type.Literal(problemType(code)),
    title: Type.Literal(PROBLEMS[code].title),
    code: Type.Literal(code),
    ...further?.properties,
  });
  return Type.Intersect([PROBLEM, own], {
    title: code.replaceAll(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    unevaluatedProperties: false,
  });
}

/** The body of a problem, in the order in which a person reads it. `instance` is the id of the request. */
export function problemBody(problem: Problem, instance: string): string {
  const body: Static<typeof PROBLEM> = {
    type: problemType(problem.code),
    title: PROBLEMS[problem.code].title,
    status: problem.getStatus(),
    detail: problem.detail,
    instance,
    code: problem.code,
  };
  return JSON.stringify({ ...body, ...problem.members });
}

interface ProblemExtras {
  /** Further members of the problem's body. */
  readonly members?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Replaces the default status of the problem. */
  readonly status?: number;
  /** For the log only. */
  readonly cause?: unknown;
}

/** The error for every refused request. ProblemFilter writes the reply. `detail` says what the client can do. */
export class Problem extends HttpException {
  readonly members: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    readonly code: ProblemCode,
    readonly detail: string,
    { members = {}, headers = {}, status = PROBLEMS[code].status, cause }: ProblemExtras = {},
  ) {
    super(detail, status, { cause });
    this.members = members;
    this.headers = headers;
  }

  static invalidRequest(errors: readonly FieldError[]): Problem {
    const fields = errors.map(({ field }) => field).join(', ');
    const members: InvalidRequestMembers = { errors: [...errors] };
    return new Problem('invalid-request', `Correct these fields and ask again: ${fields}.`, { members });
  }
}

/** The value of a Retry-After header: whole seconds, rounded up, at least 1. */
export function retryAfter(seconds: number): string {
  return String(Math.max(1, Math.ceil(seconds)));
}
