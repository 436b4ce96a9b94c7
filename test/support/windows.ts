import { type PhaseWindow } from '../../src/sessions/admission.js';

/** The window of a film of so many phases; undefined for none, as for a stream that cannot be had. */
export function filmOf(phases: number): PhaseWindow | undefined {
  return phases === 0 ? undefined : { oldest: 0, end: phases, start: 0, live: false };
}

/** The window of a live stream. */
export function liveFrom(oldest: number, start: number, end: number): PhaseWindow {
  return { oldest, start, end, live: true };
}
