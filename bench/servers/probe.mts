import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Loaded into each server before its own code: tells the benchmark how much CPU the process has used, all threads of it
 * and in microseconds, or how much memory it holds, whenever it asks, and ends the process when the benchmark is gone,
 * however it went.
 */
process.on('message', (what) => {
  process.send?.(what === 'memory' ? memory() : cpu());
});
process.once('disconnect', () => process.exit());

function cpu(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function memory(): { rss: number; heap: number } {
  // Only now: a server that is timed collects its garbage as it does by itself.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  const { rss, heapUsed: heap } = process.memoryUsage();
  return { rss, heap };
}
