import { measureCalls } from './gate/calls.mts';
import { measureCost } from './gate/cost.mts';
import { measureHeld } from './gate/held.mts';
import { measureLong } from './gate/long.mts';
import { measureMemory } from './gate/memory.mts';
import { measureRewrite } from './gate/rewrite.mts';
import { runParts } from './parts.mts';
import { leaveLastCpu } from './servers.mts';

/**
 * Measures the cost of players that fetch everything through the gate; README.md explains the figures. Exits 1 if an
 * answer was wrong, never because of a figure.
 */
leaveLastCpu();
await runParts({
  calls: measureCalls,
  cost: measureCost,
  rewrite: measureRewrite,
  long: measureLong,
  memory: measureMemory,
  held: measureHeld,
});
