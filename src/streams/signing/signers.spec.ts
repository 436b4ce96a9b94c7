import { createHash, createVerify, generateKeyPairSync } from 'node:crypto';
import { type Config, readConfig } from '../../config/config.js';
import { type MediaSigner } from './media-signer.js';
import { openSigner } from './open-signer.js';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PEM = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;

const EXPIRES_AT = Date.UTC(2026, 0, 1, 0, 0, 30, 999);
const SECONDS = Math.floor(EXPIRES_AT / 1_000);

const config = (environment: Record<string, string>): Config => readConfig(environment);
const useSigner = (environment: Record<string, string>): (() => MediaSigner) => {
  let signer: MediaSigner;
  beforeAll(async () => {
    signer = await openSigner(config(environment));
  });
  return () => signer;
};

describe('MEDIA_SIGNING=hmac', () => {
  const signer = useSigner({ MEDIA_SIGNING_SECRET: 'a-secret-of-some-length' });

  it('keeps a query, and accepts its own signature until the millisecond of the expiry', () => {
    expect(signer().endOf(EXPIRES_AT)).toBe(EXPIRES_AT);
    const [name, query] = signer().sign('film/a.ts?v=2', EXPIRES_AT).split('?') as [string, string];
    expect([name, query]).toEqual([
      'film/a.ts',
      expect.stringMatching(new RegExp(`^v=2&expires=${EXPIRES_AT}&signature=[\\w-]{43}$`)),
    ]);
    const given = Object.fromEntries(new URLSearchParams(query));
    expect(signer().verify(name, given, EXPIRES_AT - 1)).toBe('valid');
    expect(signer().verify(name, given, EXPIRES_AT)).toBe('expired');
    expect(signer().verify('film/b.ts', given, EXPIRES_AT - 1)).toBe('invalid');
  });
});

describe('MEDIA_SIGNING=secure-link', () => {
  const secret = 'a-secret-of-some-length';
  const signer = useSigner({
    MEDIA_SIGNING: 'secure-link',
    MEDIA_SIGNING_SECRET: secret,
    MEDIA_BASE_URL: 'https://media.example//films%20of/all/',
  });
  /** The hash as the manual of nginx specifies it, in the alphabet of OpenSSL. */
  const md5 = (uri: string | Buffer, expires: number): string =>
    createHash('md5')
      .update(String(expires))
      .update(uri)
      .update(` ${secret}`)
      .digest('base64')
      .replaceAll('+', '-')
      .replaceAll('/', '_')
      .replaceAll('=', '');

  // nginx accepts a URL until the end of the second in `expires`.
  const expires = SECONDS - 1;

  it.each([
    ['film/360p/a.ts', '/films of/all/film/360p/a.ts'],
    ['odd%3aname@1/a+b%20c%2Bd%25.ts', '/films of/all/odd:name@1/a+b c+d%.ts'],
    ['film/%C3%A9%3F.ts', '/films of/all/film/é?.ts'],
    ['film/%ff.ts', Buffer.from('/films of/all/film/\xff.ts', 'latin1')],
    ['film//a%2F..%2fb.ts', '/films of/all/film/b.ts'],
  ])('signs %s as nginx sees it', (path, uri) => {
    expect(signer().sign(path, EXPIRES_AT)).toBe(`${path}?md5=${md5(uri, expires)}&expires=${expires}`);
  });

  it('puts its own arguments before a query, because nginx uses the first ones', () => {
    expect(signer().sign('a.ts?expires=9&md5=x', EXPIRES_AT)).toBe(
      `a.ts?md5=${md5('/films of/all/a.ts', expires)}&expires=${expires}&expires=9&md5=x`,
    );
  });

  it('expires at a whole second, not later than requested', () => {
    expect(signer().endOf(EXPIRES_AT)).toBe(SECONDS * 1_000);
    expect(signer().endOf(SECONDS * 1_000)).toBe(SECONDS * 1_000);
    expect(signer().sign('a.ts', SECONDS * 1_000)).toContain(`&expires=${SECONDS - 1}`);
  });

  it('does not serve media itself', () => {
    expect(signer().verify('a.ts', {}, 0)).toBe('elsewhere');
  });
});

describe('MEDIA_SIGNING=cloudfront', () => {
  const base = 'https://d111.cloudfront.example/films/';
  const environment = {
    MEDIA_SIGNING: 'cloudfront',
    CLOUDFRONT_KEY_PAIR_ID: 'K2JCJMDEHXQW5F',
    CLOUDFRONT_PRIVATE_KEY: PEM.replaceAll('\n', '\\n'),
  };
  const signer = useSigner({ ...environment, MEDIA_BASE_URL: 'HTTPS://d111.cloudfront.example:443/films' });

  const bytes = (text: string): Buffer =>
    Buffer.from(text.replaceAll('-', '+').replaceAll('~', '/').replaceAll('_', '='), 'base64');

  /**
   * Simulates CloudFront: removes its own parameters from the URL, builds the policy or reads it, and checks the
   * signature, the resource and the time. Returns the kind of the policy, or the reason of the refusal.
   */
  const ask = (url: string, now: number): 'canned' | 'custom' | 'forged' | 'another' | 'expired' => {
    const [, resource, query] = /^(.*?)[?&]((?:Expires|Policy)=.*)$/s.exec(url) as unknown as string[];
    const own = Object.fromEntries(new URLSearchParams(query));
    const policy =
      own.Policy === undefined
        ? `{"Statement":[{"Resource":"${resource}","Condition":{"DateLessThan":{"AWS:EpochTime":${own.Expires}}}}]}`
        : bytes(own.Policy).toString();
    const verify = createVerify('RSA-SHA1').update(policy);
    if (own['Key-Pair-Id'] !== environment.CLOUDFRONT_KEY_PAIR_ID) return 'forged';
    if (!verify.verify(publicKey, bytes(own.Signature!))) return 'forged';
    const [{ Resource, Condition }] = JSON.parse(policy).Statement;
    const wildcards = Resource.replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.');
    if (!new RegExp(`^${wildcards}$`, 's').test(resource!)) return 'another';
    if (now >= Condition.DateLessThan['AWS:EpochTime'] * 1_000) return 'expired';
    return own.Policy === undefined ? 'canned' : 'custom';
  };
  const sign = (path: string, at = EXPIRES_AT): string => base + signer().sign(path, at);
  const end = SECONDS * 1_000;

  it.each([
    ['film/360p/a.ts', 'canned'],
    ['odd%3Aname%401/a%20b.ts', 'canned'],
    ['film/a.ts?v=2&w=%7E', 'canned'],
    ['film/a.ts?v', 'custom'],
    ['film/a.ts?', 'custom'],
    ['film/a.ts?a&&b=1', 'custom'],
    ['film/a+b,c.ts', 'custom'],
    ['%7euser/a.ts?v=2', 'custom'],
  ])('signs %s unchanged, with a %s policy', (path, policy) => {
    const url = sign(path);
    expect(url).toMatch(/[?&](Expires|Policy)=[^?]*&Key-Pair-Id=K2JCJMDEHXQW5F&Signature=[\w~-]{340,}$/);
    expect(url.slice(0, base.length + path.length + 1)).toBe(
      `${base}${path}${path.includes('?') ? '&' : '?'}`,
    );
    expect(ask(url, end - 1)).toBe(policy);
  });

  it.each(['film/a.ts?v=2', 'film/a+b.ts?v'])(
    'makes CloudFront refuse %s if it was changed, has expired, or has another signature',
    async (path) => {
      const url = sign(path);
      expect(ask(url, end - 1)).toMatch(/^c/);
      expect(ask(url, end)).toBe('expired');
      expect(ask(url.replace('?v', '?w2'), end - 1)).toMatch(/forged|another/);
      expect(ask(url.replace('film', 'movie'), end - 1)).toMatch(/forged|another/);
      expect(ask(url.replace(/Expires=\d+/, `Expires=${SECONDS + 9}`), end + 1)).toMatch(/forged|expired/);
      const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
      const another = await openSigner(
        config({
          ...environment,
          MEDIA_BASE_URL: base,
          CLOUDFRONT_PRIVATE_KEY: stranger.export({ type: 'pkcs1', format: 'pem' }) as string,
        }),
      );
      expect(ask(base + another.sign(path, EXPIRES_AT), end - 1)).toBe('forged');
    },
  );

  it('does not allow an asterisk as a wildcard', () => {
    const url = sign('film/*.ts?v');
    expect(url.startsWith(`${base}film/%2A.ts?v&`)).toBe(true);
    expect(ask(url, end - 1)).toBe('custom');
    expect(ask(url.replace('%2A', 'secret'), end - 1)).toBe('another');
  });

  it('expires at a whole second, not later than requested', () => {
    expect(signer().endOf(EXPIRES_AT)).toBe(end);
    expect(sign('a.ts', end + 999)).toContain(`Expires=${SECONDS}&`);
    expect(sign('a.ts', end)).toContain(`Expires=${SECONDS}&`);
  });

  it('uses the origin as the base if there is no MEDIA_BASE_URL', async () => {
    const { MEDIA_BASE_URL: _, ...rest } = { ...environment, MEDIA_BASE_URL: '' };
    const ofOrigin = await openSigner(
      config({ ...rest, STREAM_ORIGIN: 'https://d111.cloudfront.example/films/{stream_id}/index.m3u8' }),
    );
    expect(ofOrigin.sign('film/a.ts', EXPIRES_AT)).toBe(signer().sign('film/a.ts', EXPIRES_AT));
  });

  it('does not serve media itself', () => {
    expect(signer().verify('a.ts', {}, 0)).toBe('elsewhere');
  });
});
