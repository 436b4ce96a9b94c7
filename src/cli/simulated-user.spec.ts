import { Clock } from '../clock.js';
import { type SimulatedReply, type SimulationApi } from './simulation-api.js';
import { SimulationReport } from './simulation-report.js';
import { SimulatedUser } from './simulated-user.js';

const STREAMS = [
  { streamId: 'short', phaseSeconds: 10, phases: 6 },
  { streamId: 'long', phaseSeconds: 10, phases: 7 },
];
const REQUESTS = 5_000;

interface Asked {
  readonly stream_id: string;
  readonly phase?: number;
}

/** Every question about the time comes an hour later, so that the user never waits. */
class HastyClock extends Clock {
  private hours = 0;
  override monotonic(): number {
    return ++this.hours * 3_600_000;
  }
}

/** A service with one session: each stream begins at phase 0, and the next request gets the next phase. */
class OneSession {
  private playing: { readonly stream: string; readonly phase: number } | undefined;
  private requests = 0;

  /** `slip`: one answer in a hundred is a phase further than it should be. */
  constructor(
    private readonly enough: () => void,
    private readonly slip: boolean,
  ) {}

  send = async (_method: string, path: string, _token?: string, asked?: object): Promise<SimulatedReply> => {
    if (++this.requests >= REQUESTS) this.enough();
    if (path !== '/v1/phases') return { status: 404, code: 'session-not-found' };
    const { stream_id: stream, phase } = asked as Asked;
    const next = this.playing?.stream === stream ? this.playing.phase + 1 : 0;
    const index = (phase ?? next) + (this.slip && this.requests % 100 === 0 ? 1 : 0);
    if (index >= STREAMS.find(({ streamId }) => streamId === stream)!.phases)
      return { status: 404, code: 'phase-not-found' };
    this.playing = { stream, phase: index };
    const at = new Date(this.requests).toISOString();
    return {
      status: 200,
      session: { expires_at: at, last_activity_at: at },
      sessions: { live: 1, limit: 3 },
      phase: { index },
      next_request_in_seconds: 10,
    };
  };
}

/** How many answers a user of one screen calls wrong. */
async function wrongAnswers({ slip }: { slip: boolean }): Promise<number> {
  const report = new SimulationReport();
  const ended = new AbortController();
  let seed = 1;
  const user = new SimulatedUser({
    userId: 'ana',
    token: undefined,
    screens: 1,
    streams: STREAMS,
    api: new OneSession(() => ended.abort(), slip) as Pick<SimulationApi, 'send'> as SimulationApi,
    report,
    clock: new HastyClock(),
    random: () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647,
  });
  await user.watch(0, ended.signal);
  return report.wrongs;
}

describe('a simulated user', () => {
  it('calls no right answer wrong, also after a change of streams', async () => {
    expect(await wrongAnswers({ slip: false })).toBe(0);
  });

  it('notices a phase that does not follow the one before', async () => {
    expect(await wrongAnswers({ slip: true })).toBeGreaterThan(0);
  });
});
