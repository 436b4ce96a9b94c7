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

/** How the URL that a player begins with says whose session it plays: by a ticket, or without one by name. */
export function playbackQuery({ userId, sessionId }: PlayedSession, ticket: string | undefined): string {
  return ticket === undefined
    ? `?user_id=${encodeURIComponent(userId)}&session_id=${encodeURIComponent(sessionId)}`
    : `?ticket=${ticket}`;
}

/**
 * The folder of all that a playlist of the gate names, relative to the stream's own folder, with a slash at the end. It says
 * whose session it is, as the query of the first URL does. So the lines of a playlist need not say it: a playlist is the
 * same text for every viewer, and a long one is a tenth of the size.
 */
export function playbackFolder({ userId, sessionId }: PlayedSession, ticket: string | undefined): string {
  return `s/${ticket ?? [userId, sessionId].map(encodeURIComponent).join(',')}/`;
}
