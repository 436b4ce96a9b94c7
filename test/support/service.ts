import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { SchedulerRegistry } from '@nestjs/schedule';
import request, { type Response } from 'supertest';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { SessionRepository } from '../../src/sessions/session.repository.js';
import { ManualClock } from './manual-clock.js';
import { expectDocumented } from './openapi.js';
import { useRedisDatabase } from './redis-database.js';

/** The whole service, wired as in production, with a clock that the test controls. */
export interface Service {
  readonly app: NestFastifyApplication;
  readonly clock: ManualClock;
  readonly sessions: SessionRepository;
  /** Requests a phase. Every reply is checked against the OpenAPI document. */
  ask(body: object): Promise<Response>;
  send(
    method: 'get' | 'post' | 'put' | 'delete',
    path: string,
    headers?: Record<string, string>,
    body?: object,
  ): Promise<Response>;
}

export const STORES = ['the embedded store', 'Redis'] as const;
export type StoreName = (typeof STORES)[number];

/** Starts the service before the tests of the calling suite, and stops it after them. X = 10 s, n = 3. */
export function useService(
  store: StoreName,
  environment: () => Record<string, string> = () => ({}),
): Service {
  const service = { clock: new ManualClock() } as { -readonly [K in keyof Service]: Service[K] };
  // Before the database is emptied, because a service that stops writes its last.
  afterAll(async () => {
    await service.app.close();
  });
  const database = store === 'Redis' ? useRedisDatabase() : undefined;
  beforeAll(async () => {
    const config = readConfig({
      LOG_LEVEL: 'silent',
      // While the clock of the test stands still, all requests fall into the same second.
      RATE_LIMIT_PER_USER: '0',
      RATE_LIMIT_PER_ADDRESS: '0',
      ...(database ? { REDIS_URL: database.url } : {}),
      ...environment(),
    });
    service.app = await createApp(config, service.clock);
    service.sessions = service.app.get(SessionRepository);
    // The test runs the sweeps itself.
    await service.app.get(SchedulerRegistry).getCronJob('expire-idle-sessions').stop();
    await service.app.listen(0, '127.0.0.1');
  });
  const agent = () => request(service.app.getHttpServer());
  service.ask = async (body) => {
    const reply = await agent().post('/v1/phases').send(body);
    await expectDocumented(service.app, 'post', '/v1/phases', reply);
    return reply;
  };
  service.send = async (method, path, headers = {}, body) => {
    const reply = await agent()[method](path).set(headers).send(body);
    await expectDocumented(service.app, method, path, reply);
    return reply;
  };
  return service;
}
