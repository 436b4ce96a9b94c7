/** When a request left and when its whole reply was here, in monotonic milliseconds of the simulator. */
export interface Exchange {
  readonly sentAt: number;
  readonly repliedAt: number;
}

/** What is known of the place of a session. The service decides at an unknown instant between request and reply. */
interface Place {
  /** Until when the place is held for certain. */
  readonly surelyUntil: number;
  /** Until when it may be held. */
  readonly maybeUntil: number;
}

/** An aborted request may have been counted or not. */
const NOT_AT_ALL = -Infinity;

/**
 * The places of one simulated user, as far as a client can know them, and a verdict on each decision of the service. Replies
 * say how long a place lasts from the decision on. So an answer is called wrong only if no order of events makes it right.
 * It compares no clock with that of the service.
 */
export class SimulatedPlaces {
  private readonly places = new Map<string, Place>();
  /** Sessions that this user ended. */
  private readonly ended = new Set<string>();

  /** Why an admission is wrong; undefined if it can be right. `limit` and `live` are those of the reply. */
  faultOfAdmission(
    sessionId: string,
    { sentAt, repliedAt }: Exchange,
    { limit, live }: { readonly limit: number; readonly live: number },
  ): string | undefined {
    if (live > limit) return `the reply says that ${live} sessions are live, of ${limit}`;
    const isNew = (this.places.get(sessionId)?.maybeUntil ?? NOT_AT_ALL) <= sentAt;
    const others = this.count(sessionId, ({ surelyUntil }) => surelyUntil > repliedAt);
    return isNew && others >= limit
      ? `admitted a session although ${others} others surely held the ${limit} places`
      : undefined;
  }

  /** Why a refusal (409) is wrong; undefined if it can be right. */
  faultOfRefusal(
    sessionId: string,
    { sentAt, repliedAt }: Exchange,
    { limit, listed }: { readonly limit: number; readonly listed: number },
  ): string | undefined {
    if (this.isSurelyHeld(sessionId, repliedAt)) return 'refused a session that surely held its place';
    if (listed < limit) return `refused, with ${listed} sessions listed, of ${limit}`;
    const others = this.count(sessionId, ({ maybeUntil }) => maybeUntil > sentAt);
    return others < limit
      ? `refused although only ${others} others can hold one of ${limit} places`
      : undefined;
  }

  /** Why 410 or 404 for a session is wrong; undefined if it can be right. */
  faultOfLoss(sessionId: string, { repliedAt }: Exchange): string | undefined {
    return this.isSurelyHeld(sessionId, repliedAt) && !this.ended.has(sessionId)
      ? 'lost a session that surely held its place'
      : undefined;
  }

  /** The service decided for the session; its place lasts `spanMs` from then on. */
  keep(sessionId: string, { sentAt, repliedAt }: Exchange, spanMs: number): void {
    this.ended.delete(sessionId);
    this.places.set(sessionId, { surelyUntil: sentAt + spanMs, maybeUntil: repliedAt + spanMs });
  }

  /** No complete reply came: the service may have decided for the session, for at most `spanMs`. */
  doubt(sessionId: string, { repliedAt }: Exchange, spanMs: number): void {
    const { surelyUntil, maybeUntil } = this.places.get(sessionId) ?? {
      surelyUntil: NOT_AT_ALL,
      maybeUntil: NOT_AT_ALL,
    };
    this.places.set(sessionId, { surelyUntil, maybeUntil: Math.max(maybeUntil, repliedAt + spanMs) });
  }

  /** The end of the session is under way: its place may be free. */
  beginEnd(sessionId: string): void {
    this.ended.add(sessionId);
    const place = this.places.get(sessionId);
    if (place !== undefined) this.places.set(sessionId, { ...place, surelyUntil: NOT_AT_ALL });
  }

  /** The service confirmed the end. */
  end(sessionId: string): void {
    this.places.delete(sessionId);
  }

  private isSurelyHeld(sessionId: string, at: number): boolean {
    return (this.places.get(sessionId)?.surelyUntil ?? NOT_AT_ALL) > at;
  }

  private count(except: string, test: (place: Place) => boolean): number {
    let count = 0;
    for (const [sessionId, place] of this.places) if (sessionId !== except && test(place)) count++;
    return count;
  }
}
