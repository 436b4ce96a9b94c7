/**
 * Loaded into each server before its own code: tells the benchmark how much CPU the process has used, all threads of it
 * and in microseconds, whenever it asks, and ends the process when the benchmark is gone, however it went.
 */
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send?.(user + system);
});
process.once('disconnect', () => process.exit());
