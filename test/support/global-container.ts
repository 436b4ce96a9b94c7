import { type RedisServer, startRedis } from './redis-server.ts';

let server: RedisServer | undefined;

/** Redis from its public image; without an engine that can give it, the suite is skipped, unless one was promised. */
export default async function startContainer(): Promise<void> {
  try {
    server = await startRedis(['docker']);
    process.env.STREAMGATE_TEST_CONTAINER_URL = server.url;
  } catch (error) {
    if (process.env.REQUIRE_DOCKER === 'true') throw error;
    console.log(`\nThe container tests are skipped. ${(error as Error).message}`);
  }
}

export async function stopContainer(): Promise<void> {
  await server?.stop();
}
