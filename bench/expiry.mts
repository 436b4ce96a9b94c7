import { measureBacklog } from './expiry/backlog.mts';
import { measureIdle } from './expiry/idle.mts';
import { measureLateness } from './expiry/lateness.mts';
import { measureMemory } from './expiry/memory.mts';
import { measureSweeps } from './expiry/sweeps.mts';
import { runParts } from './parts.mts';

/**
 * What expiry on Redis costs and how late it is: README.md says how to read it. Exits 1 where an answer was wrong, never
 * for a figure.
 */
const PARTS = {
  lateness: measureLateness,
  sweeps: measureSweeps,
  memory: measureMemory,
  backlog: measureBacklog,
  idle: measureIdle,
};

await runParts(PARTS);
