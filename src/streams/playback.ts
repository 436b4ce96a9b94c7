export const PLAY_PATH = 'v1/play';

interface PlayedSession {
  readonly userId: string;
  readonly sessionId: string;
}

/** The gate's playlist of a session, where a player begins. */
export function playbackUrl(
  self: string,
  session: PlayedSession & { readonly streamId: string },
  ticket: string | undefined,
): string {
  return `${self}/${PLAY_PATH}/${session.streamId}/index.m3u8${playbackQuery(session, ticket)}`;
}

/** How a player tells the gate whose session it plays: by a ticket, or without one by name. */
export function playbackQuery({ userId, sessionId }: PlayedSession, ticket: string | undefined): string {
  return ticket === undefined
    ? `?user_id=${encodeURIComponent(userId)}&session_id=${encodeURIComponent(sessionId)}`
    : `?ticket=${ticket}`;
}
