import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readConfig } from '../../src/config/config.js';
import { openSigner } from '../../src/streams/signing/open-signer.js';
import { Nginx, findNginx } from '../support/nginx.js';
import { freePort } from '../support/redis-server.js';
import { type Service, useService } from '../support/service.js';

const SAMPLE = join(__dirname, '../../samples/streams/test-pattern');
const SEGMENT = 'test-pattern/360p/segment-000.ts';
const SECRET = 'onlyForTheTestOfNginx';

const urlsOf = async (
  service: Service,
  stream_id = 'test-pattern',
): Promise<{ urls: string[]; expiresAt: number }> => {
  const { body } = await service.ask({ user_id: 'ana', session_id: 'tv', stream_id, phase: 0 });
  const urls = body.phase.segments.map(({ url }: { url: string }) => url);
  return { urls, expiresAt: Date.parse(body.phase.expires_at) };
};

const nginx = findNginx();
if ('reason' in nginx)
  console.log(`\nThe tests of secure-link on a real nginx are skipped: ${nginx.reason}.`);

('binary' in nginx ? describe : describe.skip)('a real nginx that is set up as docs/nginx.conf says', () => {
  const server = new Nginx('binary' in nginx ? nginx.binary : '');
  let folder: string;
  let base: string;
  const environment = (): Record<string, string> => ({
    STREAM_ORIGIN: folder,
    MEDIA_BASE_URL: base,
    MEDIA_SIGNING: 'secure-link',
    MEDIA_SIGNING_SECRET: SECRET,
  });

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'streamgate-secure-link-'));
    const odd = join(folder, 'odd:name@1');
    mkdirSync(join(odd, 'é %+,(1)'), { recursive: true });
    mkdirSync(join(folder, 'shared'));
    const uris = ['é%20%25+,(1)/a%3F.ts', '..//shared//b.ts?v=2', '.%2Fc.ts?expires=1&md5=x'];
    const lines = ['#EXTM3U', ...uris.flatMap((uri) => ['#EXTINF:3,', uri]), '#EXT-X-ENDLIST', ''];
    writeFileSync(join(odd, 'index.m3u8'), lines.join('\n'));
    writeFileSync(join(odd, 'é %+,(1)/a?.ts'), 'a');
    writeFileSync(join(folder, 'shared/b.ts'), 'b');
    writeFileSync(join(odd, 'c.ts'), 'c');
    symlinkSync(SAMPLE, join(folder, 'test-pattern'));

    const port = await freePort();
    base = `http://127.0.0.1:${port}/films`;
    // Only the values that the comments of the file tell the reader to change.
    const changes = [
      ['listen 8080;', `listen 127.0.0.1:${port};`],
      ['alias /srv/streams/;', `alias ${folder}/;`],
      [' SECRET";', ` ${SECRET}";`],
    ] as const;
    let text = readFileSync(join(__dirname, '../../docs/nginx.conf'), 'utf8');
    for (const [from, to] of changes) {
      expect(text.split(from)).toHaveLength(2);
      text = text.replace(from, to);
    }
    await server.start(text, `http://127.0.0.1:${port}/`);
  });
  afterAll(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });

  const service = useService('the embedded store', environment);
  beforeEach(() => {
    // nginx uses the real clock.
    service.clock.advance(Date.now() - service.clock.now());
  });
  const status = async (url: string): Promise<number> => (await fetch(url)).status;

  it('serves the sample byte for byte at signed URLs, also in ranges', async () => {
    const [url] = (await urlsOf(service)).urls;
    const file = readFileSync(join(SAMPLE, '360p/segment-000.ts'));
    expect(Buffer.from(await (await fetch(url!)).arrayBuffer()).equals(file)).toBe(true);
    const part = await fetch(url!, { headers: { range: 'bytes=188-375' } });
    expect(part.status).toBe(206);
    expect(Buffer.from(await part.arrayBuffer()).equals(file.subarray(188, 376))).toBe(true);
  });

  it('serves unusual names, and paths with repeated slashes, dots and queries', async () => {
    const { urls } = await urlsOf(service, 'odd:name@1');
    expect(await Promise.all(urls.map(async (url) => (await fetch(url)).text()))).toEqual(['a', 'b', 'c']);
    expect(urls[1]).toMatch(/\/shared\/\/b\.ts\?md5=[\w-]{22}&expires=\d+&v=2$/);
  });

  it('refuses every other URL', async () => {
    const [url] = (await urlsOf(service)).urls;
    const change = (edit: (changed: URL) => void): string => {
      const changed = new URL(url!);
      edit(changed);
      return changed.href;
    };
    for (const forged of [
      change((it) => (it.search = '')),
      change((it) => it.searchParams.set('expires', String(Number(it.searchParams.get('expires')) + 1))),
      change((it) => it.searchParams.delete('expires')),
      change((it) => it.searchParams.delete('md5')),
      change((it) => it.searchParams.set('md5', 'A'.repeat(22))),
      change((it) => (it.pathname = it.pathname.replace('segment-000', 'segment-001'))),
      change((it) => (it.pathname = '/films/test-pattern/index.m3u8')),
    ])
      expect([forged, await status(forged)]).toEqual([forged, 403]);
    expect(await status(url!.replace('/films/', '/'))).toBe(404);
  });

  it('refuses URLs that were signed with another secret, or for another base URL', async () => {
    const signed = async (changes: Record<string, string>): Promise<string> => {
      const signer = await openSigner(readConfig({ ...environment(), ...changes }));
      return `${base}/${signer.sign(SEGMENT, Date.now() + 30_000)}`;
    };
    expect(await status(await signed({}))).toBe(200);
    expect(await status(await signed({ MEDIA_SIGNING_SECRET: 'anotherSecretThanOurs' }))).toBe(403);
    expect(await status(await signed({ MEDIA_BASE_URL: base.replace('films', 'series') }))).toBe(403);
  });

  it('refuses the URLs of a phase that was issued n·X ago', async () => {
    service.clock.advance(-30_000);
    expect(await status((await urlsOf(service)).urls[0]!)).toBe(410);
  });

  it('refuses a URL exactly at its expires_at, although nginx counts in seconds', async () => {
    const signer = await openSigner(readConfig(environment()));
    const signedFor = async (at: number): Promise<number> => status(`${base}/${signer.sign(SEGMENT, at)}`);
    expect(await signedFor(Date.now())).toBe(410);
    expect(await signedFor(signer.endOf(Date.now()))).toBe(410);
    expect(await signedFor(Date.now() + 5_000)).toBe(200);
  });
});

const MEDIA_BASE_URL = 'https://media.example/films';

describe.each([
  [
    'secure-link',
    { MEDIA_SIGNING: 'secure-link', MEDIA_SIGNING_SECRET: SECRET, MEDIA_BASE_URL },
    /^md5=[\w-]{22}&expires=\d{10}$/,
  ],
  [
    'cloudfront',
    {
      MEDIA_SIGNING: 'cloudfront',
      CLOUDFRONT_KEY_PAIR_ID: 'K2JCJMDEHXQW5F',
      CLOUDFRONT_PRIVATE_KEY: generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey.export({
        type: 'pkcs8',
        format: 'pem',
      }) as string,
      MEDIA_BASE_URL,
    },
    /^Expires=\d{10}&Key-Pair-Id=K2JCJMDEHXQW5F&Signature=[\w~-]+$/,
  ],
])('a service with MEDIA_SIGNING=%s', (_name, environment, query) => {
  const service = useService('the embedded store', () => environment);

  it('issues URLs for the server that checks them', async () => {
    const { urls } = await urlsOf(service);
    expect(urls).toHaveLength(3);
    for (const url of urls) {
      expect(url.startsWith(`${MEDIA_BASE_URL}/test-pattern/360p/segment-`)).toBe(true);
      expect(new URL(url).search.slice(1)).toMatch(query);
    }
  });

  it('reports their expiry, which is at a whole second, and shares them within that second', async () => {
    const start = service.clock.now();
    expect(start % 1_000).toBe(0);
    const first = await urlsOf(service);
    expect(first.expiresAt).toBe(start + 30_000);
    service.clock.advance(999);
    expect(await urlsOf(service)).toEqual(first);
    service.clock.advance(1);
    expect((await urlsOf(service)).expiresAt).toBe(start + 31_000);
    // After the clock was set back, no URL may live longer than n·X.
    service.clock.advance(-60_500);
    expect((await urlsOf(service)).expiresAt).toBe(start - 30_000);
  });

  it('does not serve files of its folder itself, signed or not', async () => {
    const { pathname, search } = new URL((await urlsOf(service)).urls[0]!);
    const media = `/media${pathname.slice('/films'.length)}`;
    for (const path of [media, media + search, '/media/test-pattern/index.m3u8']) {
      const reply = await fetch((await service.app.getUrl()) + path);
      expect([path, reply.status, await reply.json()]).toMatchObject([path, 404, { code: 'not-found' }]);
    }
  });
});
