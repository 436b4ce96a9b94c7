import { GateClient, type GatePlayback, type Media, type OnRefusal } from './gate.js';

export { type GatePlayback } from './gate.js';

/** The part of hls.js that is used here. An `Hls` of any version 1.x fits. */
export interface HlsLike {
  readonly media?: Media | null;
  on(event: never, listener: (event: never, data: HlsEventData) => void): void;
  loadSource(url: string): void;
  stopLoad(): void;
}

/** The members of several events that are used here. */
interface HlsEventData {
  readonly media?: Media;
  readonly details?: unknown;
  readonly response?: { readonly code: number };
  /** The XMLHttpRequest that failed. hls.js reads playlists as text and segments as bytes, problems included. */
  readonly networkDetails?: unknown;
}

/**
 * Plays a `playbackUrl` in hls.js. If the gate refuses, the player stops and `onRefusal` gets the same refusal that `watch`
 * would return. The place is kept while the viewer pauses, and given back when the page goes or the player is destroyed.
 */
export function playThroughGate(hls: HlsLike, playbackUrl: string, onRefusal: OnRefusal): GatePlayback {
  const client = new GateClient(
    playbackUrl,
    { load: (url) => hls.loadSource(url), stop: () => hls.stopLoad() },
    onRefusal,
  );
  const on = (event: string, listener: (data: HlsEventData) => void): void =>
    hls.on(event as never, (_event, data) => listener(data));
  client.attach(hls.media);
  on('hlsMediaAttached', ({ media }) => client.attach(media));
  on('hlsManifestLoading', () => client.begin());
  on('hlsLevelLoaded', ({ details }) => client.noteUrl((details as { url?: string } | undefined)?.url));
  on('hlsError', ({ response, networkDetails }) => {
    if (response?.code === 403)
      client.refuse((networkDetails as { response?: unknown } | undefined)?.response);
  });
  on('hlsDestroying', () => void client.leave());
  client.start();
  return client;
}
