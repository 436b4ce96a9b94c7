import { GateClient, type GatePlayback, type Media, type OnRefusal } from './gate.js';

export { type GatePlayback } from './gate.js';

/** The part of video.js that is used here. A player of version 8 with its own HLS engine (VHS) fits. */
export interface VideoJsLike {
  on(event: string, listener: () => void): void;
  src(source: { readonly src: string; readonly type: string }): unknown;
  reset(): void;
  error(problem: { readonly code: number; readonly message: string }): unknown;
  /** The first element inside the player that matches. */
  $(selector: string): unknown;
  tech(safety: true): unknown;
}

interface Vhs {
  readonly xhr: { onResponse(hook: (request: unknown, error: unknown, response: VhsResponse) => void): void };
}

interface VhsResponse {
  readonly statusCode: number;
  readonly url: string;
  readonly body: unknown;
}

/** MEDIA_ERR_NETWORK of the HTML standard. */
const NETWORK_ERROR = 2;

/**
 * Plays a `playbackUrl` in video.js, like `playThroughGate` for hls.js. By itself video.js would show its spinner and ask on
 * for ever. Here it shows a message, which the application may replace (`player.error(null)`).
 */
export function playThroughGate(
  player: VideoJsLike,
  playbackUrl: string,
  onRefusal: OnRefusal,
): GatePlayback {
  const client = new GateClient(
    playbackUrl,
    {
      load: (url) => {
        client.attach(player.$('video') as Media | null);
        player.src({ src: url, type: 'application/vnd.apple.mpegurl' });
      },
      stop: ({ type }) => {
        // The engine handles the reply after this hook, and must not find its player reset.
        setTimeout(() => {
          player.reset();
          const message = type === 'refused' ? 'All places are taken.' : 'This session was ended.';
          player.error({ code: NETWORK_ERROR, message });
        });
      },
    },
    onRefusal,
  );
  player.on('xhr-hooks-ready', () => {
    const { vhs } = player.tech(true) as { vhs: Vhs };
    vhs.xhr.onResponse((_request, _error, { statusCode, url, body }) => {
      if (statusCode === 403) client.refuse(body);
      else if (statusCode >= 200 && statusCode < 300) client.noteUrl(url);
    });
  });
  player.on('dispose', () => void client.leave());
  client.start();
  return client;
}
