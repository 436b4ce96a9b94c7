import { type RedisServer, startRedis } from './redis-server.ts';

let server: RedisServer | undefined;

/** Redis from its public image. Without a container engine the suite is skipped, unless an engine is required. */
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
