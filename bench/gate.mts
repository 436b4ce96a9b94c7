import { measureCalls } from './gate/calls.mts';
import { measureCost } from './gate/cost.mts';
import { measureMemory } from './gate/memory.mts';
import { measureRewrite } from './gate/rewrite.mts';
import { runParts } from './parts.mts';
import { leaveLastCpu } from './servers.mts';

/**
 * What the gate costs, which players with no code of ours fetch everything through: README.md says how to read it.
 * Exits 1 where an answer was wrong, never for a figure.
 */
leaveLastCpu();
await runParts({ calls: measureCalls, cost: measureCost, rewrite: measureRewrite, memory: measureMemory });
