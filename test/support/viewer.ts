import { type AddressInfo } from 'node:net';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import type * as client from '../../client/src/watch.js';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { SessionRepository } from '../../src/sessions/session.repository.js';

/** The service with the real clock, and the built client that uses it. */
export interface Stage {
  readonly baseUrl: string;
  readonly sessions: SessionRepository;
  /** `METHOD last-part-of-the-path` of every request sent by `fetch`, in order. */
  readonly requests: string[];
  /** Watches as user `ana`; the viewing is stopped after the test. */
  watch(options?: Partial<client.WatchOptions>): client.Viewing;
  /** Ids of ana's live sessions. */
  live(): Promise<string[]>;
  /** Ends a session, like another client. */
  end(sessionId: string): Promise<void>;
}

export function useStage(environment: Record<string, string>): Stage {
  const stage = { requests: [] as string[] } as { -readonly [K in keyof Stage]: Stage[K] };
  const started: client.Viewing[] = [];
  let app: NestFastifyApplication;
  let built: typeof client;
  const recorded: typeof fetch = (url, init) => {
    stage.requests.push(`${init?.method} ${(url as string).split('/').at(-1)}`);
    return fetch(url, init);
  };
  beforeAll(async () => {
    // The built client. The path is a variable so that the compiler does not resolve it: the file may not exist yet.
    const path: string = '../../client/dist/watch.js';
    built = (await import(path)) as typeof client;
    app = await createApp(readConfig({ LOG_LEVEL: 'silent', ...environment }));
    stage.sessions = app.get(SessionRepository);
    await app.listen(0, '127.0.0.1');
    stage.baseUrl = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await Promise.all(started.splice(0).map((viewing) => viewing.stop()));
    await fetch(`${stage.baseUrl}/v1/users/ana/sessions`, { method: 'DELETE' });
    stage.requests.length = 0;
  });
  afterAll(async () => {
    await app.close();
  });
  stage.watch = (options) => {
    const { baseUrl } = stage;
    const viewing = built.watch({
      baseUrl,
      userId: 'ana',
      streamId: 'test-pattern',
      fetch: recorded,
      ...options,
    });
    started.push(viewing);
    return viewing;
  };
  stage.live = async () => {
    const reply = await fetch(`${stage.baseUrl}/v1/users/ana/sessions`);
    const { sessions } = (await reply.json()) as { sessions: { session_id: string }[] };
    return sessions.map((session) => session.session_id);
  };
  stage.end = async (sessionId) => {
    await fetch(`${stage.baseUrl}/v1/users/ana/sessions/${sessionId}`, { method: 'DELETE' });
  };
  return stage;
}

/** Waits for the next result; returns a phase as a summary in one line. */
export async function nextResult(results: AsyncIterator<client.WatchResult, undefined>): Promise<unknown> {
  const { value } = await results.next();
  if (value?.type !== 'phase') return value;
  return `${value.session.streamId} ${value.phase.index}${value.readmitted ? ' readmitted' : ''}`;
}
