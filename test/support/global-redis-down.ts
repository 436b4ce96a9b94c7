import './global-redis.ts';

export default async function stopGlobalRedis(): Promise<void> {
  await globalThis.streamgateTestRedis?.stop();
}
