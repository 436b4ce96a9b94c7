import { once } from 'node:events';
import { connect } from 'node:net';
import { SchedulerRegistry } from '@nestjs/schedule';
import { EventSource } from 'undici';
import { EventStreams } from '../../src/sessions/event-streams.js';
import { type SessionEvent, SessionEvents } from '../../src/sessions/session-events.js';
import { StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { type EventSourceClient, openEventSource } from '../support/event-source.js';
import { BY_SECRET, HS256, Issuer } from '../support/issuer.js';
import { STORES, useService } from '../support/service.js';
import { until } from '../support/until.js';

let users = 0;

/** The codes with which a stream has ended. */
const codesOf = ({ events }: EventSourceClient): string[] =>
  events
    .filter(({ event }) => event === 'unavailable')
    .map(({ data }) => (JSON.parse(data) as { code: string }).code);

describe.each(STORES)('the stream of events, on %s,', (store) => {
  const service = useService(store);
  const clients: Pick<EventSourceClient, 'close'>[] = [];
  let user_id: string;
  let path: string;
  beforeEach(() => {
    user_id = `watcher-${++users}`;
    path = `/v1/users/${user_id}`;
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await until(() => service.app.get(EventStreams).size === 0);
  });
  const open = async (headers: Record<string, string> = {}, query = ''): Promise<EventSourceClient> => {
    const client = await openEventSource(`${await service.app.getUrl()}${path}/events${query}`, headers);
    clients.push(client);
    return client;
  };
  const ask = (session_id: string, more: object = {}) =>
    service.ask({ user_id, session_id, stream_id: 'test-pattern', ...more });
  const seen = ({ events }: EventSourceClient): string[] =>
    events.map(({ event, data }) => {
      const { session_id, reason } = JSON.parse(data) as { session_id: string; reason?: string };
      return [event?.replace('session.', ''), session_id, reason].filter(Boolean).join(' ');
    });

  it('reports each change of a session when it happens, including sessions that were replaced', async () => {
    const client = await open();
    expect(client.status).toBe(200);
    expect(client.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(client.headers.get('cache-control')).toBe('no-store');
    await ask('tv');
    await ask('tv', { stream_id: 'colour-bars' });
    await ask('phone');
    await ask('tablet');
    await ask('laptop'); // refused, which changes nothing
    await ask('laptop', { end_session_ids: ['phone'] });
    await service.send('delete', `${path}/sessions/tablet`);
    await until(() => client.events.length === 7);
    expect(seen(client)).toEqual([
      'started tv',
      'moved tv',
      'started phone',
      'started tablet',
      'ended phone replaced',
      'started laptop',
      'ended tablet user',
    ]);
    const { body } = await service.send('get', `${path}/sessions`);
    const tv = (body.sessions as { session_id: string }[]).find(({ session_id }) => session_id === 'tv');
    expect(JSON.parse(client.events[1]!.data)).toEqual(tv);
    expect(JSON.parse(client.events[6]!.data)).toMatchObject({ user_id, state: 'ended', reason: 'user' });
  });

  it('tells support of each refusal once, with the device that asked and the sessions that held the places', async () => {
    const [support, viewer] = [await open({}, '?explain=true'), await open()];
    for (const session of ['tv', 'phone', 'tablet']) await ask(session, { device: { id: session } });
    const laptop = { device: { id: 'laptop', name: 'Ana’s <b>laptop</b>' } };
    for (let tries = 0; tries < 3; tries++) await ask(`laptop-${tries}`, laptop);
    const { body } = await service.send('get', `${path}/sessions`);
    service.clock.advance(10_000);
    await ask('laptop-later', laptop);
    await service.send('delete', `${path}/sessions/tv`);
    await until(() => support.events.length === 6 && viewer.events.length === 4);
    const refused = 'session-limit-reached';
    expect(seen(support)).toEqual([
      'started tv',
      'started phone',
      'started tablet',
      `refused laptop-0 ${refused}`,
      `refused laptop-later ${refused}`,
      'ended tv user',
    ]);
    expect(seen(viewer)).toEqual(['started tv', 'started phone', 'started tablet', 'ended tv user']);
    const [first] = support.events.slice(3).map(({ data }) => JSON.parse(data));
    const at = new Date(service.clock.now() - 10_000).toISOString();
    expect(first).toMatchObject({ user_id, stream_id: 'test-pattern', at, limit: 3, ...laptop });
    expect(first.sessions).toEqual(body.sessions);
    expect(first.sessions).toHaveLength(3);

    const later = await open({ 'last-event-id': '0-0' }, '?explain=true');
    await until(() => later.events.length >= 6);
    expect(later.events.slice(0, 6)).toEqual(support.events);
  });

  it('keeps five refusals of a user in ten seconds at most, and tells support no more than fits', async () => {
    const support = await open({}, '?explain=true');
    for (let n = 0; n < 3; n++) await ask(`own-${n}`);
    for (let n = 0; n < 7; n++) await ask(`more-${n}`, { device: { id: `device-${n}` } });
    await service.send('delete', `${path}/sessions`);
    await until(() => support.events.length >= 11);
    expect(seen(support).filter((text) => text.startsWith('refused'))).toHaveLength(5);
    for (let n = 0; n < 110; n++) {
      await ask('again', { device: { id: `again-${n}` } });
      await service.send('delete', `${path}/sessions/again?reason=left`);
      service.clock.advance(1);
    }
    const later = await open({ 'last-event-id': '0-0' }, '?explain=true');
    await until(() => later.events.at(-1)?.event === 'resync');
    expect(later.events).toHaveLength(101);
    const plain = await open({ 'last-event-id': '0-0' });
    await until(() => plain.events.length === 1);
    expect(plain.events[0]!.event).toBe('resync');
  });

  it('reports an expiry, and no events of other users', async () => {
    const client = await open();
    await service.ask({ user_id: `${user_id}-other`, stream_id: 'test-pattern' });
    await ask('tv');
    await service.send('post', '/internal/expire-idle-sessions');
    service.clock.advance(30_000);
    await service.send('post', '/internal/expire-idle-sessions');
    await until(() => client.events.length === 2);
    expect(seen(client)).toEqual(['started tv', 'expired tv']);
    expect(JSON.parse(client.events[1]!.data)).toMatchObject({ state: 'expired' });
  });

  it('resumes after the last event that was received, without duplicates', async () => {
    const first = await open();
    await ask('tv');
    await until(() => first.events.length === 1);
    first.close();
    await ask('phone');
    await ask('tablet');
    const second = await open({ 'last-event-id': first.events[0]!.id! });
    await ask('laptop', { end_session_ids: ['tv'] });
    await until(() => second.events.length === 4);
    expect(seen(second)).toEqual(['started phone', 'started tablet', 'ended tv replaced', 'started laptop']);
  });

  it('can be resumed before the first event', async () => {
    const first = await open();
    await until(() => first.lastEventId() !== undefined);
    first.close();
    await ask('tv');
    const second = await open({ 'last-event-id': first.lastEventId()! });
    await until(() => second.events.length === 1);
    expect(seen(second)).toEqual(['started tv']);
  });

  it('sends resync if events may be missing, and continues', async () => {
    const client = await open({ 'last-event-id': '1000-0' });
    await until(() => client.events.length === 1);
    expect(client.events[0]).toMatchObject({ event: 'resync', data: '{}' });
    await ask('tv');
    await until(() => client.events.length === 2);
    expect(client.events[1]!.event).toBe('session.started');
  });

  it('sends heartbeats while nothing happens, with the id to resume after', async () => {
    const client = await open();
    await until(() => client.lastEventId() !== undefined);
    expect(service.app.get(SchedulerRegistry).getIntervals()).toContain('event-streams-heartbeat');
    for (let beats = 1; beats <= 2; beats++) {
      await service.app.get(EventStreams).beat();
      await until(() => client.comments() >= beats);
    }
    expect([client.events, client.lastEventId()]).toEqual([[], expect.stringMatching(/^\d+-\d+$/)]);
  });

  it.each([
    ['unreadable', 'yesterday'],
    ['empty', ''],
    ['of a former store', '999999999999999-1'],
    ['of no event', '1000-0'],
    ['sent twice', '1-1, 1-1'],
  ])(
    'answers a last event id that is %s with resync and continues, for the header and the query',
    async (_, id) => {
      await ask('radio');
      const byHeader = await open({ 'last-event-id': id });
      const byQuery = await open({}, `?lastEventId=${encodeURIComponent(id)}`);
      await ask('tv');
      for (const client of [byHeader, byQuery]) {
        await until(() => client.events.length === 2);
        expect([client.status, ...client.events.map(({ event }) => event)]).toEqual([
          200,
          'resync',
          'session.started',
        ]);
      }
    },
  );

  it('resumes after the id in the query, or in the header, which takes precedence', async () => {
    const first = await open();
    await ask('tv');
    await ask('phone');
    await until(() => first.events.length === 2);
    const [tv, phone] = first.events.map(({ id }) => id!) as [string, string];
    const byQuery = await open({}, `?lastEventId=${tv}`);
    const byBoth = await open({ 'last-event-id': phone }, `?lastEventId=${tv}`);
    await ask('tablet');
    await until(() => byQuery.events.length === 2 && byBoth.events.length === 1);
    expect(seen(byQuery)).toEqual(['started phone', 'started tablet']);
    expect(seen(byBoth)).toEqual(['started tablet']);
  });

  it('answers 422 for an invalid user id, and answers HEAD without a stream', async () => {
    const url = `${await service.app.getUrl()}/v1/users/${user_id}/events`;
    const head = await fetch(url, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
    path = '/v1/users/no body';
    expect((await open()).status).toBe(422);
  });

  it('reports an unavailable store, and a standard EventSource reconnects and misses no event', async () => {
    const source = new EventSource(`${await service.app.getUrl()}${path}/events`);
    clients.push(source);
    const got: string[] = [];
    for (const type of ['session.started', 'unavailable', 'resync'])
      source.addEventListener(type, (event: Event) => {
        const { session_id, code } = JSON.parse((event as Event & { data: string }).data) as {
          session_id?: string;
          code?: string;
        };
        got.push(session_id ?? code ?? type);
      });
    // On a busy machine a connection may meet a store that answers too late. The next one then starts behind the event.
    for (let n = 0; !got.includes(`tv-${n - 1}`); n++) {
      await ask(`tv-${n}`);
      await until(() => got.includes(`tv-${n}`), 5_000).catch(() =>
        service.send('delete', `${path}/sessions/tv-${n}`),
      );
    }
    got.length = 0;
    const watch = jest
      .spyOn(service.app.get(SessionEvents), 'watch')
      .mockRejectedValueOnce(new StoreUnavailableError('away'));
    // The stream ends, as if a proxy had closed it: the first new connection of the client fails, the second works.
    service.app.get(EventStreams).beforeApplicationShutdown();
    Object.assign(service.app.get(EventStreams), { stopping: false });
    await ask('phone');
    await until(() => got.includes('phone'), 25_000);
    expect(got).toEqual(['not-ready', 'store-unavailable', 'phone']);
    expect(watch).toHaveBeenCalledTimes(2);
    expect(source.readyState).toBe(EventSource.OPEN);
    jest.restoreAllMocks();
  });

  it('answers an internal error with a stream that reports it and ends', async () => {
    jest.spyOn(service.app.get(SessionEvents), 'watch').mockRejectedValueOnce(new Error('WRONGTYPE'));
    const client = await open({ 'last-event-id': '1-1' });
    await client.ended;
    expect([client.status, codesOf(client)]).toEqual([200, ['internal-error']]);
    // An id would change the event after which the client resumes.
    expect(client.lastEventId()).toBeUndefined();
    jest.restoreAllMocks();
  });

  it('is ended if the same user opens newer ones, so that each user has at most ten', async () => {
    const first = await open();
    const all = await Promise.all(Array.from({ length: 30 }, () => open()));
    await first.ended;
    await until(() => service.app.get(EventStreams).size === 10);
    const ended = all.filter((client) => codesOf(client).length > 0);
    expect([ended.length, codesOf(first)]).toEqual([20, ['too-many-streams-of-user']]);
    await ask('tv');
    const notified = (): EventSourceClient[] => all.filter((client) => seen(client).includes('started tv'));
    await until(() => notified().length === 10);
  });

  it('is refused to a client that reconnects while its user has ten others, and opens when there is room', async () => {
    const first = await open();
    const others: EventSourceClient[] = [];
    for (let n = 0; n < 10; n++) others.push(await open());
    await first.ended;
    const again = { 'last-event-id': first.lastEventId()! };
    const refused = await open(again);
    await refused.ended;
    expect([refused.status, codesOf(refused), refused.retryMs()]).toEqual([
      200,
      ['too-many-streams-of-user'],
      expect.any(Number),
    ]);
    expect(refused.retryMs()).toBeGreaterThanOrEqual(60_000);
    expect(service.app.get(EventStreams).size).toBe(10);
    others[0]!.close();
    await until(() => service.app.get(EventStreams).size === 9);
    await ask('tv');
    const resumed = await open(again);
    await until(() => seen(resumed).includes('started tv'));
  });

  it('is closed if its client does not read, and buffers no events for it', async () => {
    // The test sends more events than the buffers of the kernel hold.
    const listeners: Parameters<SessionEvents['watch']>[2][] = [];
    jest.spyOn(service.app.get(SessionEvents), 'watch').mockImplementation(async (_, after, listener) => {
      listeners.push(listener);
      return { missed: [], complete: true, position: after ?? '1-1', stop: () => undefined };
    });
    const fast = await open();
    const { port, hostname } = new URL(await service.app.getUrl());
    const slow = connect(Number(port), hostname);
    slow.write(`GET ${path}/events HTTP/1.1\r\nHost: here\r\n\r\n`);
    await once(slow, 'data');
    slow.pause();
    const streams = service.app.get(EventStreams);
    let sent = 0;
    while (streams.size === 2 && sent < 200_000) {
      const event = {
        id: `900000000000000-${++sent}`,
        type: 'session.started',
        sessionId: 'x'.repeat(64),
        at: 0,
      };
      for (const listener of listeners) listener(event as SessionEvent);
      if (sent % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(streams.size).toBe(1);
    expect(sent).toBeGreaterThan(1_000); // it was not closed at the first full buffer
    await until(() => fast.events.length === sent);
    slow.destroy();
    jest.restoreAllMocks();
  });
});

describe('a service that stops', () => {
  const service = useService('the embedded store');

  it('ends the event streams, so that their clients connect to another instance', async () => {
    const client = await openEventSource(`${await service.app.getUrl()}/v1/users/ana/events`);
    service.app.get(EventStreams).beforeApplicationShutdown();
    await client.ended;
    expect(codesOf(client)).toEqual(['not-ready']);
    const late = await openEventSource(`${await service.app.getUrl()}/v1/users/ana/events`);
    await late.ended;
    expect([late.status, codesOf(late)]).toEqual([200, ['not-ready']]);
  });

  it('makes its clients reconnect at random times within several seconds', async () => {
    service.app.get(EventStreams).beforeApplicationShutdown();
    const url = `${await service.app.getUrl()}/v1/users/ana/events`;
    const clients = await Promise.all(Array.from({ length: 20 }, () => openEventSource(url)));
    await Promise.all(clients.map(async ({ ended }) => ended));
    const delays = clients.map((client) => client.retryMs()!);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(1_000);
    expect(Math.max(...delays)).toBeLessThanOrEqual(5_000);
    expect(Math.max(...delays) - Math.min(...delays)).toBeGreaterThan(1_000);
    expect(new Set(delays).size).toBeGreaterThan(10);
  });
});

describe('a client that sends too many requests', () => {
  const service = useService('the embedded store', () => ({ RATE_LIMIT_PER_USER: '10' }));

  it('gets a stream that reports it and ends, because an EventSource gives up after an error status', async () => {
    const url = `${await service.app.getUrl()}/v1/users/ana/events`;
    const clients = await Promise.all(Array.from({ length: 15 }, () => openEventSource(url)));
    for (const { status } of clients) expect(status).toBe(200);
    await until(() => clients.flatMap(codesOf).filter((code) => code === 'rate-limited').length === 5);
    for (const client of clients) client.close();
  });
});

describe('a ticket for events', () => {
  const service = useService('the embedded store', () => ({
    ...BY_SECRET,
    INTERNAL_API_TOKEN: 'a-token-of-some-length',
  }));
  const issuer = new Issuer(() => service.clock.now());
  const url = async (user: string, ticket: string) =>
    `${await service.app.getUrl()}/v1/users/${user}/events?ticket=${ticket}`;
  const ticketOf = async (purpose: string, sub = 'ana'): Promise<string> => {
    const token = await issuer.token(HS256, { sub });
    const body = { stream_id: 'test-pattern', for: purpose };
    const reply = await service.send('post', '/v1/tickets', { authorization: `Bearer ${token}` }, body);
    expect(reply.status).toBe(201);
    return reply.body.ticket as string;
  };

  it('opens the stream of its user only', async () => {
    const ticket = await ticketOf('events');
    const client = await openEventSource(await url('ana', ticket));
    expect(client.status).toBe(200);
    await until(() => client.lastEventId() !== undefined);
    client.close();
    const foreign = await openEventSource(await url('ben', ticket));
    expect([foreign.status, await foreign.problem()]).toMatchObject([403, { code: 'not-your-session' }]);
  });

  it('needs no stream, unlike other tickets, and comes with the URL for EventSource', async () => {
    const sub = 'auth0|ána';
    const headers = { authorization: `Bearer ${await issuer.token(HS256, { sub })}` };
    const { status, body } = await service.send('post', '/v1/tickets', headers, { for: 'events' });
    expect([status, body.playback_url]).toEqual([201, undefined]);
    const client = await openEventSource(body.events_url);
    await until(() => client.lastEventId() !== undefined);
    await service.send('post', '/v1/phases', headers, { stream_id: 'test-pattern' });
    await until(() => client.events.length === 1);
    expect(JSON.parse(client.events[0]!.data)).toMatchObject({ subject: sub });
    client.close();
    for (const purpose of ['play', 'cmcd', undefined]) {
      const refused = await service.send('post', '/v1/tickets', headers, { for: purpose });
      expect([refused.status, refused.body.errors]).toEqual([
        422,
        [{ field: 'stream_id', message: 'is missing' }],
      ]);
    }
  });

  it('is required: without a ticket, or with one for another purpose or a made-up one, the answer is 401', async () => {
    for (const ticket of [await ticketOf('play'), await ticketOf('cmcd'), 'a.b.c', '']) {
      const client = await openEventSource(await url('ana', ticket));
      expect([client.status, await client.problem()]).toMatchObject([401, { code: 'unauthorized' }]);
    }
    const plain = await openEventSource(`${await service.app.getUrl()}/v1/users/ana/events`);
    expect(plain.status).toBe(401);
  });

  it('opens nothing else', async () => {
    const ticket = await ticketOf('events');
    for (const path of [
      '/v1/users/ana/sessions',
      '/v1/play/test-pattern/index.m3u8',
      '/internal/callbacks',
    ]) {
      const { status } = await service.send('get', `${path}?ticket=${ticket}`);
      expect([path, status]).toEqual([path, 401]);
    }
    expect((await service.send('delete', `/v1/users/ana/sessions/tv?ticket=${ticket}`)).status).toBe(401);
  });

  it('ends its stream when it expires', async () => {
    const client = await openEventSource(await url('ana', await ticketOf('events')));
    service.clock.advance(14 * 3_600_000);
    await service.app.get(EventStreams).beat();
    await client.ended;
    expect(service.app.get(EventStreams).size).toBe(0);
  });
});
