import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Loaded into each server before its own code. When the benchmark asks, it reports the CPU time of all threads of the
 * process in microseconds, its memory, or how long its event loop was held up at most. It ends the process when the benchmark is gone for any reason.
 */
process.on('message', (what) => {
  process.send?.(what === 'memory' ? memory() : what === 'turn' ? longestTurn() : cpu());
});
process.once('disconnect', () => process.exit());

function cpu(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

let longest: { wall: number; cpu: number } | undefined;

/**
 * From the first question on, every turn of the event loop is timed, which keeps it spinning. The CPU time of the thread
 * tells what the service does; other processes on the machine only add to the elapsed time. Kernels that count CPU time
 * by ticks of 4 ms add it late, to a short turn also; so no turn counts for more than the time that passed.
 */
function longestTurn(): { wall: number; cpu: number } {
  const measured = longest ?? { wall: 0, cpu: 0 };
  if (longest === undefined) time(performance.now(), threadMillis());
  longest = { wall: 0, cpu: 0 };
  return measured;
}

function time(wallBefore: number, cpuBefore: number): void {
  setImmediate(() => {
    const [wall, computed] = [performance.now(), threadMillis()];
    longest = {
      wall: Math.max(longest?.wall ?? 0, wall - wallBefore),
      cpu: Math.max(longest?.cpu ?? 0, Math.min(computed - cpuBefore, wall - wallBefore)),
    };
    time(wall, computed);
  });
}

function threadMillis(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

function memory(): { rss: number; heap: number } {
  // Garbage is collected only here: while a server is timed, it collects garbage by itself as usual.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  return { rss, heap: heapUsed + arrayBuffers };
}
