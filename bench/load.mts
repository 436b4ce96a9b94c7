import autocannon from 'autocannon';

export const CONNECTIONS = 32;
const USERS_PER_CONNECTION = 10;
/** How many segments of the sample stream start in each of its phases. */
const SEGMENTS = [3, 2, 3, 2, 3, 2, 1];

export interface Asked {
  readonly user_id: string;
  readonly session_id: string;
  readonly stream_id: string;
  readonly phase: number;
}

/** Returns what is wrong with the reply to a renewal, or undefined. */
export type Check = (asked: Asked, status: number, body: string) => string | undefined;

/** A request, and the check of its reply. */
export interface Exchange {
  readonly request: autocannon.Request;
  readonly check: (
    status: number,
    body: string,
    headers: Readonly<Record<string, string>>,
  ) => string | undefined;
}

/** A load: the requests that are sent for a while. */
export interface Load {
  /** The status of every correct reply. */
  readonly status: number;
  /** For each connection, the requests that it repeats. */
  readonly exchanges: readonly (readonly Exchange[])[];
}

/** For each connection, the requests that it repeats: every phase of the stream for each of its own users. */
export const ASKED: readonly (readonly Asked[])[] = Array.from({ length: CONNECTIONS }, (_, connection) =>
  SEGMENTS.flatMap((_segments, phase) =>
    Array.from({ length: USERS_PER_CONNECTION }, (_user, user) => ({
      user_id: `user-${connection}-${user}`,
      session_id: `session-${connection}-${user}`,
      stream_id: 'test-pattern',
      phase,
    })),
  ),
);

export const checkRenewal: Check = (asked, status, body) => {
  if (status !== 200) return `status ${status}`;
  const { session, phase, sessions } = JSON.parse(body) as {
    session: Asked;
    phase: { index: number; segments: { url: string }[] };
    sessions: { live: number };
  };
  if (session.user_id !== asked.user_id || session.session_id !== asked.session_id) return 'another session';
  if (session.stream_id !== asked.stream_id) return 'another stream';
  if (session.phase !== asked.phase || phase.index !== asked.phase) return 'another phase';
  if (phase.segments.length !== SEGMENTS[asked.phase]) return 'another number of segments';
  if (!phase.segments.every(({ url }) => url.includes('&signature='))) return 'a URL without signature';
  return sessions.live === 1 ? undefined : 'another number of sessions';
};

export async function ask(url: string, asked: Asked): Promise<{ status: number; body: string }> {
  const { method, path, headers, body } = toRequest(asked);
  const reply = await fetch(url + path, { method, headers, body });
  return { status: reply.status, body: await reply.text() };
}

function toRequest(asked: Asked) {
  return {
    method: 'POST',
    path: '/v1/phases',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(asked),
  } as const;
}

/** Requests for every phase by every user. */
export function renewals(check: Check): Load {
  const exchanges = ASKED.map((list) =>
    list.map((asked) => ({
      request: toRequest(asked),
      check: (status: number, body: string) => check(asked, status, body),
    })),
  );
  return { status: 200, exchanges };
}

/**
 * Sends this many requests and returns how many were answered per second. It waits for the last reply, because the
 * admission of a broken request is undone. Throws if any status was wrong, or one of the bodies that are checked (one in
 * ten).
 */
export async function fire(url: string, amount: number, load: Load): Promise<number> {
  const faults: string[] = [];
  const examined = ({ request, check }: Exchange): autocannon.Request => ({
    ...request,
    onResponse: (status, body, _context, headers) => {
      const fault = check(status, body, headers as Record<string, string>);
      if (fault !== undefined)
        faults.push(`${fault} for ${JSON.stringify(request)}: ${body.slice(0, 1_000)}`);
    },
  });
  let connection = 0;
  let started = 0;
  let ended = 0;
  const { errors, statusCodeStats } = await autocannon({
    url,
    amount,
    connections: CONNECTIONS,
    // Without this, autocannon would try a crashed server forever.
    bailout: 1,
    // Milliseconds until autocannon notices that it is done.
    sampleInt: 20,
    setupClient: (client) => {
      // One reply in ten is checked: among renewals every phase, each for another user.
      const list = load.exchanges[connection++]!.map((exchange, at) =>
        at % 11 === 0 ? examined(exchange) : exchange.request,
      );
      client.setRequests(list);
      client.on('response', () => (ended = performance.now()));
      // The last call counts: nothing is sent before all connections are set up.
      started = performance.now();
    },
  });
  const right = statusCodeStats?.[`${load.status}`]?.count ?? 0;
  if (right !== amount || errors > 0)
    faults.push(
      `${right} of ${amount} were ${load.status}, ${errors} errors: ${JSON.stringify(statusCodeStats)}`,
    );
  if (faults.length > 0) throw new Error(`${faults.length} wrong answers. The first: ${faults[0]}`);
  return (amount / (ended - started)) * 1_000;
}
