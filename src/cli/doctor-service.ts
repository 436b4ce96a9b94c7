import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { HTTP, isUrl } from '../config/checks.js';
import { type Context } from './context.js';
import { type Finding } from './finding.js';
import { viewerToken } from './local.js';
import { reasonOf } from './service-client.js';
import { CliError } from './terminal.js';

const TIMEOUT_MS = 5_000;
/** The user of the request for a ticket, which takes no place. */
const USER = 'streamgate-doctor';
/** Paths that proxies must not forward. */
const PRIVATE_PATHS = ['/internal/config', '/metrics', '/docs/openapi.json'];

/** Checks that the service of the target is ready, if the caller chose one. */
export async function checkTarget(context: Context): Promise<readonly Finding[]> {
  if (!context.hasTarget()) return [];
  const { url } = context.target();
  try {
    const reply = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await reply.text();
    if (reply.ok) return [{ check: 'service', level: 'ok', finding: `${url} is ready.` }];
    return [
      {
        check: 'service',
        level: 'fault',
        finding: `${url} is not ready (${reply.status}).`,
        remedy: detailOf(text) ?? 'Look at its log.',
      },
    ];
  } catch (error) {
    return [
      {
        check: 'service',
        level: 'fault',
        finding: `${url} cannot be reached (${reasonOf(error as Error)}).`,
        remedy: 'Start the service, or correct the URL of the target.',
      },
    ];
  }
}

function detailOf(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { detail?: string }).detail;
  } catch {
    return undefined;
  }
}

/** Checks what the proxies before the service forward, and whether it knows the address that viewers use. */
export async function checkPublicUrl(
  config: Config,
  clock: Clock,
  publicUrl: string | undefined,
): Promise<readonly Finding[]> {
  if (publicUrl === undefined)
    return [
      {
        check: 'proxies',
        level: 'skipped',
        finding: 'Give the address that viewers use as --public-url to check the proxies.',
      },
    ];
  if (!isUrl(publicUrl, HTTP, 'refused')) throw new CliError('--public-url must be http:// or https://.');
  const base = publicUrl.replace(/\/+$/, '');
  try {
    return [await checkAddress(base, config, clock), await checkPrivatePaths(base)];
  } catch (error) {
    return [
      {
        check: 'proxies',
        level: 'fault',
        finding: `${base} cannot be reached (${reasonOf(error as Error)}).`,
        remedy: 'Correct --public-url, or the name, the certificate or the listener of the load balancer.',
      },
    ];
  }
}

/** The service makes URLs from the address of the request, which a proxy passes on in X-Forwarded-* headers. */
async function checkAddress(base: string, config: Config, clock: Clock): Promise<Finding> {
  const isByToken = config.AUTH_MODE === 'jwt';
  if (isByToken && config.AUTH_JWT_SECRET === undefined)
    return {
      check: 'proxies.address',
      level: 'skipped',
      finding:
        'The public address is checked only with AUTH_MODE=none or AUTH_JWT_SECRET: it needs a token of a viewer.',
    };
  const token = isByToken ? await viewerToken(config, USER, Math.floor(clock.now() / 1_000) + 60) : undefined;
  const reply = await fetch(`${base}/v1/tickets`, {
    method: 'POST',
    redirect: 'manual',
    headers: {
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ stream_id: 'test', ...(token === undefined ? { user_id: USER } : {}) }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const text = await reply.text();
  if (!reply.ok)
    return {
      check: 'proxies.address',
      level: 'fault',
      finding: `${base}/v1/tickets answers ${reply.status}.`,
      remedy: detailOf(text) ?? 'Forward /v1 to the service: a proxy answered instead of it.',
    };
  const { playback_url: playbackUrl } = JSON.parse(text) as { playback_url: string };
  const { origin } = new URL(playbackUrl);
  return origin === new URL(base).origin
    ? { check: 'proxies.address', level: 'ok', finding: 'The service knows the address that viewers use.' }
    : {
        check: 'proxies.address',
        level: 'fault',
        finding: `The service takes ${origin} for its address, and viewers use ${new URL(base).origin}.`,
        remedy:
          'Set TRUSTED_PROXIES to the addresses of the proxies, and have them send X-Forwarded-Proto and X-Forwarded-Host.',
      };
}

async function checkPrivatePaths(base: string): Promise<Finding> {
  const replies = await Promise.all(
    PRIVATE_PATHS.map(async (path) => {
      const reply = await fetch(base + path, { redirect: 'manual', signal: AbortSignal.timeout(TIMEOUT_MS) });
      await reply.body?.cancel();
      // The service itself answers 200, or asks for a token. A proxy that does not forward answers something else.
      return reply.status === 200 || reply.status === 401 ? [path] : [];
    }),
  );
  const forwarded = replies.flat();
  return forwarded.length === 0
    ? { check: 'proxies.paths', level: 'ok', finding: 'The proxies keep private paths to themselves.' }
    : {
        check: 'proxies.paths',
        level: 'warning',
        finding: `${base} forwards ${forwarded.join(', ')}.`,
        remedy: 'Let the load balancer forward neither /internal nor /metrics nor /docs.',
      };
}
