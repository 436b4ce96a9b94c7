import { once } from 'node:events';
import { connect } from 'node:net';
import { SchedulerRegistry } from '@nestjs/schedule';
import { EventStreams } from '../../src/sessions/event-streams.js';
import { type SessionEvent, SessionEvents } from '../../src/sessions/session-events.js';
import { type EventSourceClient, openEventSource } from '../support/event-source.js';
import { STORES, useService } from '../support/service.js';
import { until } from '../support/until.js';

let users = 0;

describe.each(STORES)('the stream of events, on %s,', (store) => {
  const service = useService(store);
  const clients: EventSourceClient[] = [];
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
  const open = async (headers: Record<string, string> = {}): Promise<EventSourceClient> => {
    const client = await openEventSource(`${await service.app.getUrl()}${path}/events`, headers);
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

  it('tells each change of a session as it happens, and who was pushed out', async () => {
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

  it('tells an expiry, and nothing of other users', async () => {
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

  it('resumes after the last event that was seen, and tells none twice', async () => {
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

  it('can be resumed before there was any event', async () => {
    const first = await open();
    await until(() => first.lastEventId() !== undefined);
    first.close();
    await ask('tv');
    const second = await open({ 'last-event-id': first.lastEventId()! });
    await until(() => second.events.length === 1);
    expect(seen(second)).toEqual(['started tv']);
  });

  it('says so where some may be missing, and goes on', async () => {
    const client = await open({ 'last-event-id': '1000-0' });
    await until(() => client.events.length === 1);
    expect(client.events[0]).toMatchObject({ event: 'resync', data: '{}' });
    await ask('tv');
    await until(() => client.events.length === 2);
    expect(client.events[1]!.event).toBe('session.started');
  });

  it('beats while nothing happens, with where to resume', async () => {
    const client = await open();
    await until(() => client.lastEventId() !== undefined);
    expect(service.app.get(SchedulerRegistry).getIntervals()).toContain('event-streams-heartbeat');
    for (let beats = 1; beats <= 2; beats++) {
      await service.app.get(EventStreams).beat();
      await until(() => client.comments() === beats);
    }
    expect([client.events, client.lastEventId()]).toEqual([[], expect.stringMatching(/^\d+-\d+$/)]);
  });

  it('refuses an id that is none, and a user that is none', async () => {
    const wrong = await open({ 'last-event-id': 'yesterday' });
    expect([wrong.status, await wrong.problem()]).toMatchObject([
      422,
      { code: 'invalid-request', errors: [{ field: 'last-event-id' }] },
    ]);
    path = '/v1/users/no body';
    expect((await open()).status).toBe(422);
    const url = `${await service.app.getUrl()}/v1/users/${user_id}/events`;
    const head = await fetch(url, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
  });

  it('gives way to newer ones of the same user, ten of which are enough', async () => {
    const first = await open();
    const all = await Promise.all(Array.from({ length: 30 }, () => open()));
    await first.ended;
    await until(() => service.app.get(EventStreams).size === 10);
    await ask('tv');
    const told = (): EventSourceClient[] => all.filter(({ events }) => events.length === 1);
    await until(() => told().length === 10);
    expect(first.events).toEqual([]);
  });

  it('is dropped where its client does not read, and keeps nothing for it', async () => {
    // Events of the test's own: as many as the buffers of the kernel hold, and then some.
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
    expect(sent).toBeGreaterThan(1_000); // it was not the first to wait for a turn
    await until(() => fast.events.length === sent);
    slow.destroy();
    jest.restoreAllMocks();
  });
});

describe('when the service stops', () => {
  const service = useService('the embedded store');

  it('ends the streams, so that their clients go to another instance', async () => {
    const client = await openEventSource(`${await service.app.getUrl()}/v1/users/ana/events`);
    service.app.get(EventStreams).beforeApplicationShutdown();
    await client.ended;
    const late = await openEventSource(`${await service.app.getUrl()}/v1/users/ana/events`);
    expect([late.status, await late.problem()]).toMatchObject([503, { code: 'not-ready' }]);
  });
});
