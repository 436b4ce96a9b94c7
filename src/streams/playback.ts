import { type Device } from '../sessions/device.js';

export const PLAY_PATH = 'v1/play';

interface PlayedSession {
  readonly userId: string;
  readonly sessionId: string;
  readonly device?: Device | undefined;
}

/** The URL of the gate's playlist for a session, which a player opens first. */
export function playbackUrl(
  self: string,
  session: PlayedSession & { readonly streamId: string },
  ticket: string | undefined,
): string {
  return `${self}/${PLAY_PATH}/${session.streamId}/index.m3u8${playbackQuery(session, ticket)}`;
}

/** The query that identifies a session at the gate: a ticket, or without one the ids of user, session and device. */
export function playbackQuery(session: PlayedSession, ticket: string | undefined): string {
  if (ticket !== undefined) return `?ticket=${ticket}`;
  const { userId, sessionId, device } = session;
  const named = `?user_id=${encodeURIComponent(userId)}&session_id=${encodeURIComponent(sessionId)}`;
  if (device === undefined) return named;
  const name = device.name === undefined ? '' : `&device_name=${encodeURIComponent(device.name)}`;
  return `${named}&device_id=${encodeURIComponent(device.id)}${name}`;
}

/**
 * The folder of all that a playlist of the gate names, relative to the stream's own folder, with a slash at the end. It says
 * whose session it is, as the query of the first URL does. So the lines of a playlist need not say it: a playlist is the
 * same text for every viewer, and a long one is a tenth of the size.
 */
export function playbackFolder(
  { userId, sessionId, device }: PlayedSession,
  ticket: string | undefined,
): string {
  if (ticket !== undefined) return `s/${ticket}/`;
  const named = [userId, sessionId, device?.id, device?.name].filter((one) => one !== undefined);
  return `s/${named.map(encodeURIComponent).join(',')}/`;
}
