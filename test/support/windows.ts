import { type PhaseWindow } from '../../src/sessions/admission.js';

/** X of the default policy. */
const PHASE_MS = 10_000;

/** The window of a film with this number of phases; undefined for 0, like the window of a missing stream. */
export function filmOf(phases: number): PhaseWindow | undefined {
  return phases === 0
    ? undefined
    : { oldest: 0, end: phases, start: 0, live: false, phaseMs: PHASE_MS, lastPhaseMs: PHASE_MS };
}

/** The window of a live stream. */
export function liveFrom(oldest: number, start: number, end: number): PhaseWindow {
  return { oldest, start, end, live: true, phaseMs: PHASE_MS, lastPhaseMs: PHASE_MS };
}
