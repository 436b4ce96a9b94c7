import { GateClient, type GatePlayback, type Media, type OnRefusal } from './gate.js';

export { type GatePlayback } from './gate.js';

/** The part of Shaka Player that is used here. A `shaka.Player` of version 5 fits. */
export interface ShakaLike {
  addEventListener(type: never, listener: (event: never) => void): void;
  getMediaElement(): unknown;
  load(url: string): Promise<unknown>;
  unload(): Promise<unknown>;
}

/** The members of Shaka's events that are used here. */
interface ShakaEvent {
  readonly request?: { readonly uris: readonly string[] };
  readonly httpResponseCode?: number;
  /** `data` of an HTTP error: the URI, the status, and the body as text. */
  readonly error?: { readonly data: readonly unknown[] } | null;
}

/** Plays a `playbackUrl` in Shaka Player, like `playThroughGate` for hls.js. Attach the player to its element before. */
export function playThroughGate(player: ShakaLike, playbackUrl: string, onRefusal: OnRefusal): GatePlayback {
  let stopped = false;
  const client = new GateClient(
    playbackUrl,
    {
      load: (url) => {
        stopped = false;
        client.attach(player.getMediaElement() as Media | null);
        // A refusal was reported. Any other error is the application's: without a handler, the browser reports it.
        void player.load(url).catch((error: unknown) => {
          if (!stopped) throw error;
        });
      },
      stop: () => {
        stopped = true;
        // Otherwise Shaka would ask for a live stream again each second.
        void player.unload().catch(() => undefined);
      },
    },
    onRefusal,
  );
  const on = (event: string, listener: (event: ShakaEvent) => void): void =>
    player.addEventListener(event as never, listener);
  on('downloadcompleted', ({ request }) => client.noteUrl(request?.uris[0]));
  on('downloadfailed', ({ httpResponseCode, error }) => {
    if (httpResponseCode === 403) client.refuse(error?.data[2]);
  });
  client.start();
  return client;
}
