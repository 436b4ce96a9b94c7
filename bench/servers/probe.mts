import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Loaded into each server before its own code. When the benchmark asks, it reports the CPU time of all threads of the
 * process in microseconds, or its memory. It ends the process when the benchmark is gone for any reason.
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
  // Garbage is collected only here: while a server is timed, it collects garbage by itself as usual.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  const { rss, heapUsed: heap } = process.memoryUsage();
  return { rss, heap };
}
