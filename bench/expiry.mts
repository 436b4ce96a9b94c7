import { measureBacklog } from './expiry/backlog.mts';
import { measureIdle } from './expiry/idle.mts';
import { measureLateness } from './expiry/lateness.mts';
import { measureMemory } from './expiry/memory.mts';
import { measureSweeps } from './expiry/sweeps.mts';
import { runParts } from './parts.mts';

/**
 * Measures the cost and the lateness of expiry on Redis; README.md explains the figures. Exits 1 if an answer was wrong,
 * never because of a figure.
 */
const PARTS = {
  lateness: measureLateness,
  sweeps: measureSweeps,
  memory: measureMemory,
  backlog: measureBacklog,
  idle: measureIdle,
};

await runParts(PARTS);
