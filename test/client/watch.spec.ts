import { setTimeout as sleep } from 'node:timers/promises';
import { StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { BY_SECRET, HS256, Issuer } from '../support/issuer.js';
import { until } from '../support/until.js';
import { nextResult, useStage } from '../support/viewer.js';

const PHASES = 'POST phases';

/** Sends the first `failing` requests to a port where no server listens. */
function unreachable(failing: number): { fetch: typeof fetch; asked(): number } {
  let asked = 0;
  return {
    asked: () => asked,
    fetch: (url, init) => fetch(asked++ < failing ? 'http://127.0.0.1:1/' : url, init),
  };
}

/**
 * Simulates that the machine sleeps: the wall clock, which the service uses as well, has moved on; the monotonic clock has
 * not, and timers wait for as long as before.
 */
async function sleepFor(ms: number): Promise<void> {
  await sleep(50);
  const awake = Date.now.bind(Date);
  jest.spyOn(Date, 'now').mockImplementation(() => awake() + ms);
}

describe('a viewing with phases of 0.3 s, kept for 3 s', () => {
  const stage = useStage({ PHASE_SECONDS: '0.3', IDLE_PHASES: '10', MAX_SESSIONS_PER_USER: '2' });

  it('yields the phases in order, each when it is due', async () => {
    const begun = performance.now();
    const results = stage.watch()[Symbol.asyncIterator]();
    const phases = [];
    for (let count = 0; count < 5; count++) phases.push(await nextResult(results));
    expect(phases).toEqual([0, 1, 2, 3, 4].map((index) => `test-pattern ${index}`));
    // Four waits, none shorter than the jitter allows.
    expect(performance.now() - begun).toBeGreaterThan(4 * 0.9 * 300 - 20);
    expect(stage.requests).toEqual(Array(5).fill(PHASES));
  });

  it('yields the URLs to play and the session', async () => {
    const viewing = stage.watch({ startPhase: 3 });
    const { value } = await viewing[Symbol.asyncIterator]().next();
    expect(value).toMatchObject({
      type: 'phase',
      session: { sessionId: viewing.sessionId, userId: 'ana', streamId: 'test-pattern', state: 'active' },
      phase: { index: 3, startSeconds: expect.closeTo(0.9), last: false },
      sessions: { live: 1, limit: 2 },
      playbackUrl: expect.stringContaining(viewing.sessionId),
      readmitted: false,
    });
  });

  it('takes no place before its first result is requested', async () => {
    stage.watch();
    await sleep(50);
    expect([stage.requests, await stage.live()]).toEqual([[], []]);
  });

  it('continues an existing session', async () => {
    const first = stage.watch({ sessionId: 'tv', startPhase: 7 });
    await nextResult(first[Symbol.asyncIterator]());
    const again = stage.watch({ sessionId: 'tv' });
    expect(await nextResult(again[Symbol.asyncIterator]())).toBe('test-pattern 8');
  });

  it('finishes after the last phase, and frees its place', async () => {
    const stream = await fetch(`${stage.baseUrl}/v1/streams/test-pattern`);
    const { phases } = (await stream.json()) as { phases: number };
    const seen = [];
    for await (const result of stage.watch({ startPhase: phases - 2 }))
      seen.push(result.type === 'phase' ? result.phase.index : result.type);
    expect(seen).toEqual([phases - 2, phases - 1, 'finished']);
    expect(await stage.live()).toEqual([]);
  });

  it('seeks at once, and continues from there', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    const waiting = nextResult(results);
    viewing.seek(40);
    expect([await waiting, await nextResult(results)]).toEqual(['test-pattern 40', 'test-pattern 41']);
  });

  it('moves to another stream in the same place', async () => {
    const viewing = stage.watch({ startPhase: 5 });
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    viewing.moveTo('colour-bars');
    expect([await nextResult(results), await nextResult(results)]).toEqual([
      'colour-bars 0',
      'colour-bars 1',
    ]);
    expect(await stage.live()).toEqual([viewing.sessionId]);
  });

  it('uses the chosen rendition from the next phase on, and the first rendition of another stream', async () => {
    const viewing = stage.watch({ rendition: 1 });
    const results = viewing[Symbol.asyncIterator]();
    const played = async (): Promise<string> => {
      const { value } = await results.next();
      if (value?.type !== 'phase') throw new Error(`it was ${value?.type}`);
      return new URL(value.phase.segments[0]!.url).pathname.split('/')[3]!;
    };
    expect(await played()).toBe('720p');
    for (const [rendition, name] of [
      [undefined, '360p'],
      [1, '720p'],
    ] as const) {
      viewing.choose(rendition);
      viewing.seek(0); // phase 0 has a segment; most phases of 0.3 s have none
      expect(await played()).toBe(name);
    }
    viewing.moveTo('colour-bars');
    expect(await played()).toBe('360p');
  });

  it('is refused with the list of sessions, and takes the place of one of them', async () => {
    const [one, two] = [stage.watch(), stage.watch()].map((viewing) => viewing[Symbol.asyncIterator]());
    await nextResult(one!);
    await nextResult(two!);
    const [first, second] = await stage.live();
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    expect(await nextResult(results)).toEqual({
      type: 'refused',
      limit: 2,
      sessions: [
        expect.objectContaining({ sessionId: first, userId: 'ana' }),
        expect.objectContaining({ sessionId: second }),
      ],
      retryAfterSeconds: expect.any(Number),
    });
    viewing.takeOver([first!]);
    expect(await nextResult(results)).toBe('test-pattern 0');
    expect((await stage.live()).toSorted()).toEqual([second!, viewing.sessionId].toSorted());
    // The replaced session gets the reason and the session that replaced it.
    expect(await nextResult(one!)).toMatchObject({
      type: 'ended',
      reason: 'replaced',
      endedAt: expect.any(String),
    });
    expect(await one!.next()).toEqual({ done: true, value: undefined });
  });

  it('ends after a refusal to which the consumer does not react, and sends no more requests', async () => {
    for (const viewing of [stage.watch(), stage.watch()]) await nextResult(viewing[Symbol.asyncIterator]());
    const { length } = stage.requests;
    const seen = [];
    for await (const result of stage.watch()) seen.push(result.type);
    expect(seen).toEqual(['refused']);
    expect(stage.requests.slice(length)).toEqual([PHASES]);
  });

  it('reports that it was ended while it plays', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    await stage.end(viewing.sessionId);
    expect(await nextResult(results)).toMatchObject({ type: 'ended', reason: 'user' });
    expect((await results.next()).done).toBe(true);
  });

  it('frees its place when its consumer stops iterating', async () => {
    for await (const result of stage.watch()) if (result.type === 'phase') break;
    expect(await stage.live()).toEqual([]);
  });

  it('frees its place as soon as stop is called between two phases', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    const waiting = results.next();
    const { length } = stage.requests;
    const stopped = viewing.stop();
    expect(stage.requests.slice(length)).toEqual([`DELETE ${viewing.sessionId}`]);
    await stopped;
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(await stage.live()).toEqual([]);
  });

  it('leaves no session if it is aborted during its first request', async () => {
    const controller = new AbortController();
    const results = stage.watch({ signal: controller.signal })[Symbol.asyncIterator]();
    const admit = stage.sessions.admit.bind(stage.sessions);
    jest.spyOn(stage.sessions, 'admit').mockImplementationOnce((ask) => {
      controller.abort();
      return admit(ask);
    });
    expect((await results.next()).done).toBe(true);
    await until(async () => (await stage.live()).length === 0);
  });

  it('leaves no session if a proxy still forwards the aborted request', async () => {
    const passedOn: Promise<Response>[] = [];
    const viewing = stage.watch({
      fetch: async (url, init) => {
        if (init?.method === 'POST')
          passedOn.push(sleep(200).then(() => fetch(url, { ...init, signal: null })));
        return init?.method === 'POST' ? passedOn[0]! : fetch(url, init);
      },
    });
    const waiting = viewing[Symbol.asyncIterator]().next();
    await until(() => passedOn.length === 1);
    await viewing.stop();
    expect((await passedOn[0]!).status).toBe(201);
    expect([passedOn.length, (await waiting).done, await stage.live()]).toEqual([1, true, []]);
  });

  it('sends no request if it was aborted before', async () => {
    const results = stage.watch({ signal: AbortSignal.abort() })[Symbol.asyncIterator]();
    expect((await results.next()).done).toBe(true);
    expect(stage.requests).toEqual([]);
  });

  it('retries if no server answered', async () => {
    const network = unreachable(2);
    const results = stage.watch({ fetch: network.fetch })[Symbol.asyncIterator]();
    expect([await nextResult(results), network.asked()]).toEqual(['test-pattern 0', 3]);
  });

  it('requests the same phase again if the reply was lost', async () => {
    let lost = 0;
    const losing: typeof fetch = async (url, init) => {
      const reply = await fetch(url, init);
      await reply.clone().text();
      if (reply.status === 200 && lost++ === 0) throw new TypeError('the connection broke');
      return reply;
    };
    const results = stage.watch({ fetch: losing })[Symbol.asyncIterator]();
    expect([await nextResult(results), await nextResult(results), lost > 0]).toEqual([
      'test-pattern 0',
      'test-pattern 1',
      true,
    ]);
  });

  it('waits for the Retry-After of an unavailable store', async () => {
    jest.spyOn(stage.sessions, 'admit').mockRejectedValueOnce(new StoreUnavailableError('away'));
    const begun = performance.now();
    expect(await nextResult(stage.watch()[Symbol.asyncIterator]())).toBe('test-pattern 0');
    expect(performance.now() - begun).toBeGreaterThan(950);
    expect(stage.requests).toEqual([PHASES, PHASES]);
  });

  it('asks again for the next phase if it came before the phase was whole, but not after a seek', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    const admit = jest.spyOn(stage.sessions, 'admit').mockResolvedValueOnce({ outcome: 'phase-not-found' });
    expect(await nextResult(results)).toBe('test-pattern 1');
    expect(stage.requests).toEqual([PHASES, PHASES, PHASES]);
    admit.mockResolvedValueOnce({ outcome: 'phase-not-found' });
    viewing.seek(5);
    await expect(results.next()).rejects.toMatchObject({ code: 'phase-not-found' });
  });

  it('throws the problem when retries last longer than its place', async () => {
    const results = stage.watch()[Symbol.asyncIterator]();
    await nextResult(results);
    jest.spyOn(stage.sessions, 'admit').mockRejectedValue(new StoreUnavailableError('away'));
    await expect(results.next()).rejects.toMatchObject({
      name: 'StreamgateError',
      code: 'store-unavailable',
      status: 503,
      problem: { type: 'urn:streamgate:problem:store-unavailable' },
    });
    expect(stage.requests.length).toBeGreaterThan(2);
  });

  it('throws at once for errors that a retry cannot fix', async () => {
    const results = stage.watch({ streamId: 'nothing' })[Symbol.asyncIterator]();
    await expect(results.next()).rejects.toMatchObject({ code: 'stream-not-found', status: 404 });
    expect(stage.requests).toEqual([PHASES]);
  });

  it('sends a fresh token with each request, and the last one when it stops', async () => {
    const sent: unknown[] = [];
    let tokens = 0;
    const viewing = stage.watch({
      token: () => `token-${++tokens}`,
      fetch: (url, init) => {
        sent.push([init?.method, new Headers(init?.headers).get('authorization'), init?.keepalive]);
        return fetch(url, init);
      },
    });
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    await nextResult(results);
    await viewing.stop();
    expect(sent).toEqual([
      ['POST', 'Bearer token-1', undefined],
      ['POST', 'Bearer token-2', undefined],
      // With `keepalive` the request outlives the page.
      ['DELETE', 'Bearer token-2', true],
    ]);
  });
});

describe('a viewing of the user of a token', () => {
  const stage = useStage({ ...BY_SECRET, PHASE_SECONDS: '0.3', IDLE_PHASES: '10' });
  const issuer = new Issuer(() => Date.now());
  const placesOf = async (user: string): Promise<number> => (await stage.sessions.list(user)).sessions.length;

  it('needs no user id, and frees its place', async () => {
    const token = async (): Promise<string> => issuer.token(HS256, { sub: 'named' });
    const viewing = stage.watch({ userId: undefined, token });
    const results = viewing[Symbol.asyncIterator]();
    expect([await nextResult(results), await nextResult(results)]).toEqual([
      'test-pattern 0',
      'test-pattern 1',
    ]);
    expect(await placesOf('named')).toBe(1);
    await viewing.stop();
    expect(await placesOf('named')).toBe(0);
  });

  it('throws if the user id is another one, or if the token is invalid', async () => {
    for (const [claims, code] of [
      [{ sub: 'ben' }, 'not-your-session'],
      [{ exp: 1 }, 'unauthorized'],
    ] as const) {
      const results = stage.watch({ token: await issuer.token(HS256, claims) })[Symbol.asyncIterator]();
      await expect(results.next()).rejects.toMatchObject({ code });
    }
  });
});

describe('a viewing with phases of 1 s, kept for 2 s', () => {
  const stage = useStage({ PHASE_SECONDS: '1', IDLE_PHASES: '2' });
  const KEEPALIVE = 'POST keepalive';

  it('keeps its place over a pause of any length, and resumes with the next phase', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    viewing.pause();
    const waiting = nextResult(results);
    await sleep(3_500);
    expect(stage.requests.slice(1)).toEqual(Array(stage.requests.length - 1).fill(KEEPALIVE));
    expect(await stage.live()).toEqual([viewing.sessionId]);
    viewing.resume();
    expect(await waiting).toBe('test-pattern 1');
  });

  it('keeps its place while its consumer is slow', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    await sleep(2_500);
    expect(await nextResult(results)).toBe('test-pattern 1');
    expect(stage.requests).toEqual([PHASES, ...Array(stage.requests.length - 2).fill(KEEPALIVE), PHASES]);
  });

  it('continues after a pause with the rest of the phase', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    viewing.pause();
    const waiting = nextResult(results);
    await sleep(1_200);
    const resumed = performance.now();
    viewing.resume();
    await waiting;
    expect(performance.now() - resumed).toBeGreaterThan(300);
  });

  it('shows another phase while it is paused, and stays paused', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    viewing.pause();
    const waiting = nextResult(results);
    viewing.seek(9);
    expect(await waiting).toBe('test-pattern 9');
    let next = 'nothing yet';
    const later = nextResult(results).then((phase) => (next = String(phase)));
    await sleep(1_500);
    expect(next).toBe('nothing yet');
    viewing.resume();
    await later;
    expect(next).toBe('test-pattern 10');
  });

  it('reports that it was ended while it is paused', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    viewing.pause();
    const waiting = nextResult(results);
    await stage.end(viewing.sessionId);
    expect(await waiting).toMatchObject({ type: 'ended', reason: 'user' });
  });
});

describe('a viewing with phases of 30 s, on a machine that sleeps', () => {
  const stage = useStage({ PHASE_SECONDS: '30', IDLE_PHASES: '3', MAX_SESSIONS_PER_USER: '1' });

  it('seeks at once, however long the phase is', async () => {
    const viewing = stage.watch({ startPhase: 1 });
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    const waiting = nextResult(results);
    await sleep(50);
    viewing.seek(0);
    expect(await waiting).toBe('test-pattern 0');
  });

  it('does not wait for a reply that a seek has made obsolete', async () => {
    let asked = 0;
    const viewing = stage.watch({
      fetch: async (url, init) => {
        if (asked++ === 0)
          await new Promise((_, fail) => {
            init!.signal!.addEventListener('abort', () => fail(new Error('aborted')));
          });
        return fetch(url, init);
      },
    });
    const waiting = nextResult(viewing[Symbol.asyncIterator]());
    await until(() => asked === 1);
    viewing.seek(1);
    expect(await waiting).toBe('test-pattern 1');
  }, 5_000);

  it('sends a request at once after the sleep, and reports that it had lost its place', async () => {
    const results = stage.watch()[Symbol.asyncIterator]();
    await nextResult(results);
    const waiting = nextResult(results);
    await sleepFor(600_000);
    expect(await waiting).toBe('test-pattern 1 readmitted');
  });

  it('keeps its place if the sleep was shorter than n·X', async () => {
    const results = stage.watch()[Symbol.asyncIterator]();
    await nextResult(results);
    const waiting = nextResult(results);
    await sleepFor(40_000);
    expect(await waiting).toBe('test-pattern 1');
  });

  it('is refused if another session has taken the place', async () => {
    const results = stage.watch()[Symbol.asyncIterator]();
    await nextResult(results);
    const waiting = nextResult(results);
    await sleepFor(600_000);
    await nextResult(stage.watch({ sessionId: 'other' })[Symbol.asyncIterator]());
    expect(await waiting).toMatchObject({ type: 'refused', sessions: [{ sessionId: 'other' }] });
  });

  it('waits for a network that returns later than the machine', async () => {
    let asked = 0;
    const viewing = stage.watch({
      fetch: (url, init) => fetch([1, 2].includes(asked++) ? 'http://127.0.0.1:1/' : url, init),
    });
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    const waiting = nextResult(results);
    await sleepFor(600_000);
    expect(await waiting).toBe('test-pattern 1 readmitted');
  });

  it('reports when it resumes that the pause was too long', async () => {
    const viewing = stage.watch();
    const results = viewing[Symbol.asyncIterator]();
    await nextResult(results);
    viewing.pause();
    const waiting = nextResult(results);
    await sleepFor(600_000);
    await until(() => stage.requests.includes('POST keepalive'));
    await sleep(100);
    viewing.resume();
    expect(await waiting).toBe('test-pattern 1 readmitted');
  });
});
