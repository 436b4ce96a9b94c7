import { type PhaseWindow } from '../../src/sessions/admission.js';

/** X of the usual policy. */
const PHASE_MS = 10_000;

/** The window of a film of so many phases; undefined for none, as for a stream that cannot be had. */
export function filmOf(phases: number): PhaseWindow | undefined {
  return phases === 0
    ? undefined
    : { oldest: 0, end: phases, start: 0, live: false, phaseMs: PHASE_MS, lastPhaseMs: PHASE_MS };
}

/** The window of a live stream. */
export function liveFrom(oldest: number, start: number, end: number): PhaseWindow {
  return { oldest, start, end, live: true, phaseMs: PHASE_MS, lastPhaseMs: PHASE_MS };
}
