import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import { Catalogue } from '../streams/catalogue.js';
import { HLS } from '../streams/hls/format.js';
import { OriginFailures } from '../streams/origin-failures.js';
import { openOrigin } from '../streams/origin.js';
import { type Finding } from './finding.js';
import { reasonOf } from './service-client.js';

const TIMEOUT_MS = 5_000;

/** Checks that the origin can be reached, and reads one of its streams as the service does. */
export async function checkOrigin(
  config: Config,
  clock: Clock,
  stream?: string,
): Promise<readonly Finding[]> {
  const failures = new RecordedFailures(clock);
  const catalogue = new Catalogue(HLS, config, clock, failures);
  const origin = openOrigin(config);
  if (origin.folder === undefined) {
    const failure = await failureToConnect(origin.root);
    if (failure !== undefined)
      return [
        {
          check: 'origin.connection',
          level: 'fault',
          finding: `The origin at ${origin.root.origin} cannot be reached (${failure}).`,
          remedy: 'Start the origin, open the way to it, or correct the host and port in STREAM_ORIGIN.',
        },
      ];
  }
  const id = stream ?? (await catalogue.list())?.[0]?.streamId;
  if (id === undefined)
    return [
      origin.folder === undefined
        ? {
            check: 'origin.stream',
            level: 'skipped',
            finding: 'The origin can be reached. Name one of its streams with --stream to read it.',
          }
        : {
            check: 'origin.stream',
            level: 'fault',
            finding: failures.reason ?? 'The folder of STREAM_ORIGIN has no stream that can be served.',
            remedy: 'Put a stream into it as {stream_id}/index.m3u8, or correct STREAM_ORIGIN.',
          },
    ];
  const found = await catalogue.find(id);
  if (found.outcome === 'found')
    return [{ check: 'origin.stream', level: 'ok', finding: `The stream ${id} can be served.` }];
  const { origin: host, pathname } = origin.playlistUrl(id);
  const place = origin.folder === undefined ? host + pathname : decodeURIComponent(pathname);
  return [
    found.outcome === 'not-found'
      ? {
          check: 'origin.stream',
          level: 'fault',
          finding: `The origin has no stream ${id}.`,
          remedy: `Publish its playlist at ${place}, or correct STREAM_ORIGIN or the id.`,
        }
      : {
          check: 'origin.stream',
          level: 'fault',
          finding: `The stream ${id} cannot be served: ${failures.reason ?? 'the origin failed'}.`,
          remedy: `Correct what the origin answers at ${place}; docs/streams.md says which playlists are supported.`,
        },
  ];
}

/** Remembers why the origin failed, instead of logging it. */
class RecordedFailures extends OriginFailures {
  reason: string | undefined;

  constructor(clock: Clock) {
    super(clock, new Metrics());
  }

  override note(error: unknown): void {
    this.reason ??= reasonOf(error as Error);
  }
}

/** Checks that each issuer publishes keys that can verify a signature. */
export async function checkKeys({ jwksUrls, AUTH_MODE }: Config): Promise<readonly Finding[]> {
  if (AUTH_MODE === 'none')
    return [{ check: 'keys', level: 'skipped', finding: 'AUTH_MODE is none: no keys are needed.' }];
  if (jwksUrls.length === 0)
    return [{ check: 'keys', level: 'ok', finding: 'The key of the issuer is in the configuration.' }];
  return Promise.all(
    jwksUrls.map(async (url): Promise<Finding> => {
      const fault = await faultOfKeys(url);
      const { origin, pathname } = new URL(url);
      return fault === undefined
        ? { check: 'keys', level: 'ok', finding: `${origin} publishes keys.` }
        : {
            check: 'keys',
            level: 'fault',
            finding: `AUTH_JWKS_URL gives no keys: ${origin}${pathname} ${fault}.`,
            remedy:
              'Set AUTH_JWKS_URL to the jwks_uri in the /.well-known/openid-configuration of the issuer, and let this machine reach it.',
          };
    }),
  );
}

async function faultOfKeys(url: string): Promise<string | undefined> {
  try {
    const reply = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!reply.ok) return `answers ${reply.status}`;
    const { keys } = (await reply.json()) as { keys?: readonly { kty?: string; use?: string }[] };
    if (!Array.isArray(keys)) return 'is no JWKS';
    const fit = keys.filter(({ kty, use = 'sig' }) => kty !== undefined && kty !== 'oct' && use === 'sig');
    return fit.length > 0 ? undefined : 'has no public key for signatures';
  } catch (error) {
    return (error as Error).name === 'SyntaxError'
      ? 'is no JSON'
      : `cannot be read (${reasonOf(error as Error)})`;
  }
}

/** Checks that each receiver of callbacks accepts a connection. Nothing is posted: it would take that for an event. */
export async function checkReceivers({ receivers }: Config): Promise<readonly Finding[]> {
  if (receivers.length === 0)
    return [{ check: 'receivers', level: 'skipped', finding: 'No receiver of callbacks is configured.' }];
  return Promise.all(
    receivers.map(async ({ receiver, url }): Promise<Finding> => {
      const failure = await failureToConnect(new URL(url));
      return failure === undefined
        ? { check: 'receivers', level: 'ok', finding: `The receiver ${receiver} accepts connections.` }
        : {
            check: 'receivers',
            level: 'fault',
            finding: `The receiver ${receiver} cannot be reached (${failure}).`,
            remedy:
              'Start the receiver, open the way to it, or correct the host and port in CALLBACK_URL or CALLBACK_URLS. Its events wait meanwhile.',
          };
    }),
  );
}

/** The code of the error of a connection to the host of a URL, by TLS for https; undefined if it works. */
export async function failureToConnect({ protocol, hostname, port }: URL): Promise<string | undefined> {
  const host = hostname.replace(/^\[|\]$/g, '');
  const isTls = protocol === 'https:';
  const at = { host, port: Number(port || (isTls ? 443 : 80)) };
  const socket = isTls ? connectTls({ ...at, servername: host }) : connectTcp(at);
  try {
    await once(socket, isTls ? 'secureConnect' : 'connect', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return undefined;
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException;
    return name === 'AbortError' ? 'no answer in time' : (code ?? message);
  } finally {
    socket.destroy();
  }
}
