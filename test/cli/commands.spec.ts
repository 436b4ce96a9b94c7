import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CallbackReceiver } from '../support/callback-receiver.js';
import { type CommandOutcome, streamgate } from '../support/command-line.js';
import { BY_SECRET } from '../support/issuer.js';
import { useService } from '../support/service.js';
import { until } from '../support/until.js';

const TOKEN = 'SECRET-token-of-an-operator';
const API_TOKENS = ['sessions:read,sessions:end,expiry:pause,config:read,audit:read']
  .map((scopes) => `support:${scopes}:${createHash('sha256').update(TOKEN).digest('hex')}`)
  .join(' ');

const folder = mkdtempSync(join(tmpdir(), 'streamgate-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes a file into the folder of this suite, and gives its path. */
function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe('the commands that ask a service', () => {
  const receiver = new CallbackReceiver();
  beforeAll(async () => receiver.start());
  afterAll(async () => receiver.stop());
  const service = useService('the embedded store', () => ({
    API_TOKENS,
    CALLBACK_URL: receiver.url,
    CALLBACK_SECRET: `whsec_${Buffer.from('a secret of more than 24 bytes').toString('base64')}`,
    CALLBACK_MAX_TRIES: '1',
  }));
  const url = (): string => `http://127.0.0.1:${(service.app.getHttpServer().address() as AddressInfo).port}`;

  const run = async (...words: string[]): Promise<CommandOutcome> => {
    const targets = file(
      'targets.json',
      JSON.stringify({ targets: { here: { url: url(), token_file: 'operator.token' } } }),
    );
    file('operator.token', `${TOKEN}\n`);
    return streamgate([...words, '--targets', targets, '--target', 'here'], { clock: service.clock });
  };

  it('lists the sessions of a user, and ends one and then all of them', async () => {
    for (const session_id of ['tv', 'phone', 'tablet'])
      await service.ask({
        user_id: 'ana',
        stream_id: 'test-pattern',
        session_id,
        device: { id: `device-${session_id}`, name: 'Living\u001B[31m room' },
      });
    const listed = await run('sessions', 'list', 'ana');
    expect(listed.out).toContain('ana holds 3 of 3 places.\n');
    expect(listed.out).toMatch(/^tv +active +test-pattern +Living\uFFFD\[31m room +0 s +30 s$/m);
    expect(
      ((await run('sessions', 'list', 'ana', '--json')).json() as { sessions: unknown[] }).sessions,
    ).toHaveLength(3);

    expect(await run('sessions', 'end', 'ana', 'tv')).toMatchObject({ code: 0, out: 'Ended tv of ana.\n' });
    expect((await run('sessions', 'list', 'ana')).out).toContain('2 of 3 places');
    expect((await run('sessions', 'end', 'ana', '--all')).code).toBe(0);
    expect((await run('sessions', 'list', 'ana')).out).toBe('ana holds 0 of 3 places.\n');
  });

  it('wants sessions or --all to end, and says which session there is not', async () => {
    expect(await run('sessions', 'end', 'ana')).toMatchObject({
      code: 1,
      err: 'Name the sessions to end, or give --all.\n',
    });
    const { code, err } = await run('sessions', 'end', 'ana', 'nothing');
    expect([code, err]).toEqual([1, expect.stringContaining('(404 session-not-found)')]);
  });

  it('shows events as they happen, and stops after --count of them', async () => {
    const lines: string[] = [];
    const watching = streamgate(
      ['watch', 'ben', '--count', '2', '--json', '--url', url(), '--token-file', file('t', TOKEN)],
      {
        clock: service.clock,
        onOutput: (text) => lines.push(text),
      },
    );
    // The stream is open when the first event of a session is shown.
    let started = 0;
    await until(async () => {
      await service.ask({ user_id: 'ben', stream_id: 'test-pattern', session_id: `s${started++ % 3}` });
      await service.send('delete', '/v1/users/ben/sessions');
      return lines.length > 0;
    });
    const { code, out } = await watching;
    const events = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; data: { user_id: string } });
    expect(code).toBe(0);
    expect(events).toHaveLength(2);
    for (const { type, data } of events) {
      expect(type).toMatch(/^session\.(started|ended)$/);
      expect(data.user_id).toBe('ben');
    }
  });

  it('ends a watch on Ctrl+C', async () => {
    const interruption = new AbortController();
    const watching = streamgate(['watch', 'ana', '--url', url(), '--token-file', file('t', TOKEN)], {
      clock: service.clock,
      interrupted: interruption.signal,
    });
    interruption.abort();
    await expect(watching).resolves.toMatchObject({ out: '' });
  });

  it('pauses the sweeps, shows who did, and resumes them', async () => {
    expect((await run('expiry', 'status')).out).toBe('The sweeps run.\n');
    const paused = await run('expiry', 'pause', '--by', 'ops, ticket 4711');
    expect(paused.out).toMatch(
      /^The sweeps are paused since .*, by ops, ticket 4711, until somebody resumes them\.\n$/,
    );
    expect((await run('expiry', 'status', '--json')).json()).toMatchObject({
      paused: true,
      by: 'ops, ticket 4711',
    });
    expect((await run('expiry', 'resume')).out).toBe('The sweeps run.\n');
    const { code, err } = await run('expiry', 'pause', '--until', '2001-01-01T00:00:00Z');
    expect([code, err]).toEqual([1, expect.stringContaining('until must be in the future')]);
  });

  it('lists what operators changed, with their notes', async () => {
    await service.ask({ user_id: 'zoe', stream_id: 'test-pattern', session_id: 'tv' });
    const ended = await run('sessions', 'end', 'zoe', 'tv', '--note', 'Zoë\u0027s TV, ticket 4711');
    expect(ended.code).toBe(0);
    await run('expiry', 'pause', '--note', 'night');
    await run('expiry', 'resume', '--note', 'morning');
    const [head, ...rows] = (await run('audit', '--user', 'zoe', '--limit', '5')).out.trim().split('\n');
    expect(head).toMatch(/^AT +BY +ACTION +TARGET +NOTE +REQUEST$/);
    expect(rows).toEqual([
      expect.stringMatching(/^\S+Z  support  sessions\.end  zoe tv  Zoë's TV, ticket 4711  \S+$/),
    ]);
    const { out } = await run('audit', '--by', 'support', '--limit', '2', '--json');
    const notes = out
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { note: string }).note);
    expect(notes.toSorted()).toEqual(['morning', 'night']);
    expect((await run('audit', '--action', 'callbacks.resume')).out).toBe('The audit has no such entry.\n');
    const { code, err } = await run('sessions', 'end', 'zoe', '--all', '--note', 'x'.repeat(201));
    expect([code, err]).toEqual([1, expect.stringContaining('at most 200 characters')]);
    expect((await run('audit', '--limit', '20000')).err).toContain('must be a whole number from 1 to 10000');
  });

  it('lists the events that were given up, and delivers them again', async () => {
    receiver.answer = () => 500;
    await service.ask({ user_id: 'eve', stream_id: 'test-pattern', session_id: 'tv' });
    await run('sessions', 'end', 'eve', 'tv');
    interface Outbox {
      readonly dead_letters: number;
      readonly listed_dead_letters: readonly {
        readonly id: string;
        readonly event: { data: { user_id: string } };
      }[];
    }
    const ofEve = async (): Promise<string | undefined> =>
      ((await run('callbacks', 'list', '--json')).json() as Outbox).listed_dead_letters.find(
        ({ event }) => event.data.user_id === 'eve',
      )?.id;
    await until(async () => (await ofEve()) !== undefined);
    const id = (await ofEve())!;
    expect((await run('callbacks', 'list')).out).toContain(id);
    receiver.answer = () => 204;
    expect((await run('callbacks', 'replay', id)).out).toBe('1 events wait to be delivered again.\n');
    await until(() => receiver.of('eve').filter((one) => one.id === id).length === 2);
    expect((await run('callbacks', 'replay', id)).code).toBe(1);
    expect((await run('callbacks', 'resume')).out).toBe('No deliveries were stopped.\n');
    const { code, err } = await run('callbacks', 'resume', '--receiver', 'nobody');
    expect([code, err]).toEqual([1, expect.stringContaining('receiver is not the name of a receiver')]);
  });

  it('shows the configuration of the instance without secrets', async () => {
    const { out } = await run('config', 'show');
    expect(out).toMatch(/^MAX_SESSIONS_PER_USER +3$/m);
    expect(out).toMatch(/^API_TOKENS +\(set\)$/m);
    for (const secret of [TOKEN, API_TOKENS, receiver.url]) expect(out).not.toContain(secret);
  });

  it('says what to do without a token, and with a wrong one', async () => {
    const without = await streamgate(['config', 'show', '--url', url()]);
    expect(without).toMatchObject({ code: 1, err: expect.stringContaining('Give a token: --token-file') });
    const wrong = await streamgate([
      'config',
      'show',
      '--url',
      url(),
      '--token-file',
      file('wrong', 'wrong'),
    ]);
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('streamgate token check') });
  });

  it('says that a proxy answered, where the reply is not of the service', async () => {
    const { code, err } = await streamgate(['sessions', 'list', 'ana', '--url', receiver.url]);
    expect([code, err]).toEqual([1, expect.stringMatching(/cannot be reached|not as Streamgate does/)]);
  });
});

describe('the choice of the service', () => {
  const failure = async (
    words: readonly string[],
    environment: Record<string, string> = {},
  ): Promise<string> => {
    const { code, err } = await streamgate(['expiry', 'status', ...words], { environment });
    expect(code).toBe(1);
    return err;
  };

  it('is a URL, a target of the file, or this machine', async () => {
    const dead = 'http://127.0.0.1:1';
    expect(await failure(['--url', dead])).toContain(dead);
    expect(await failure([], { STREAMGATE_URL: dead })).toContain(dead);
    const targets = file('known.json', JSON.stringify({ default: 'a', targets: { a: { url: dead } } }));
    expect(await failure([], { STREAMGATE_TARGETS: targets })).toContain(dead);
    expect(await failure(['--targets', targets, '--target', 'b'])).toContain('There is no target b');
    expect(await failure(['--url', dead, '--target', 'a'])).toContain('not both');
    expect(await failure(['--url', 'ftp://x'])).toContain('must be http:// or https://');
  });

  it('refuses a token in the file of targets, and a file that is none', async () => {
    const withToken = file(
      'bad.json',
      JSON.stringify({ targets: { a: { url: 'http://x', token: 'SECRET' } } }),
    );
    const err = await failure(['--targets', withToken, '--target', 'a']);
    expect(err).toContain('name that as "token_file"');
    expect(err).not.toContain('SECRET');
    expect(await failure(['--targets', file('no.json', '{'), '--target', 'a'])).toContain('is not JSON');
    expect(await failure(['--targets', join(folder, 'absent'), '--target', 'a'])).toContain('ENOENT');
    expect(await failure(['--url', 'http://x', '--token-file', join(folder, 'absent')])).toContain('ENOENT');
    expect(await failure(['--url', 'http://x', '--token-file', file('two', 'a b')])).toContain('one token');
  });
});

describe('the commands on this machine', () => {
  const environment = { LOG_USER_IDS_SECRET: 'the key of the pseudonyms' };

  it('find the user of a pseudonym in the log', async () => {
    const pseudonym = (await streamgate(['pseudonym', 'ana'], { environment })).out.trim();
    // The same as the openssl command in README.
    expect(pseudonym).toMatch(/^[\w-]{16}$/);
    expect(await streamgate(['who', pseudonym, 'ben', 'ana'], { environment })).toMatchObject({
      code: 0,
      out: 'ana\n',
    });
    expect(await streamgate(['who', pseudonym, '-'], { environment, input: 'eve\nana\n' })).toMatchObject({
      code: 0,
      out: 'ana\n',
    });
    expect((await streamgate(['who', pseudonym, 'ben'], { environment })).code).toBe(1);
    expect(await streamgate(['pseudonym', 'ana'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('set LOG_USER_IDS_SECRET'),
    });
  });

  it('validate the configuration of an environment and of a file', async () => {
    const { code, out } = await streamgate(['config', 'check'], {
      environment: { ...environment, PORT: '4000' },
    });
    expect(code).toBe(0);
    expect(out).toMatch(/^PORT +4000$/m);
    expect(out).not.toContain(environment.LOG_USER_IDS_SECRET);
    const env = file('service.env', 'PORT=no\n');
    const invalid = await streamgate(['config', 'check', '--env-file', env]);
    expect(invalid).toMatchObject({ code: 1, err: expect.stringContaining('PORT: must be a whole number') });
    const asJson = await streamgate(['config', 'check', '--json', '--env-file', env]);
    expect(asJson.code).toBe(1);
    expect(asJson.json()).toEqual({ valid: false, faults: ['PORT: must be a whole number from 0 to 65535'] });
  });

  it('make an API token that the service accepts, readable by its owner only', async () => {
    const out = join(folder, 'made.token');
    const made = await streamgate([
      'token',
      'make',
      'api',
      'support',
      '--scopes',
      'sessions:read',
      '--out',
      out,
      '--json',
    ]);
    const { entry } = made.json() as { entry: string };
    const token = readFileSync(out, 'utf8').trim();
    expect(made.out).not.toContain(token);
    expect(statSync(out).mode & 0o777).toBe(0o600);
    const checked = await streamgate(['token', 'check', '--json', '--file', out], {
      environment: { API_TOKENS: entry },
    });
    expect(checked.json()).toEqual({
      accepted: true,
      kind: 'api',
      name: 'support',
      scopes: ['sessions:read'],
    });
    expect(
      (await streamgate(['token', 'make', 'api', 'x', '--scopes', 'sessions:read', '--out', out])).err,
    ).toContain('name a new file');
    expect((await streamgate(['token', 'make', 'api', 'x', '--scopes', 'all'])).err).toContain(
      'all is no scope',
    );
  });

  it('make a token of a viewer, and say why one is refused', async () => {
    const made = await streamgate(['token', 'make', 'viewer', 'ana', '--limit', '5'], {
      environment: BY_SECRET,
    });
    const accepted = await streamgate(['token', 'check'], { environment: BY_SECRET, input: made.out });
    expect(accepted.out).toContain('Accepted: the viewer ana, who may watch 5 streams.\n');
    const other = { ...BY_SECRET, AUTH_AUDIENCE: 'another' };
    const refused = await streamgate(['token', 'check'], { environment: other, input: made.out });
    expect(refused).toMatchObject({ code: 1, out: expect.stringContaining('Refused. The claim aud') });
    expect(refused.out).toMatch(/^ {2}aud +"streamgate"$/m);
    expect((await streamgate(['token', 'check'], { input: 'nothing' })).code).toBe(1);
    expect((await streamgate(['token', 'make', 'viewer', 'ana'])).err).toContain('Only the issuer');
  });

  it('exit with 2 for a command that does not exist, and with 0 for help', async () => {
    expect((await streamgate(['nothing'])).code).toBe(2);
    expect((await streamgate(['sessions', 'list'])).code).toBe(2);
    expect(await streamgate(['--help'])).toMatchObject({ code: 0, out: expect.stringContaining('simulate') });
  });
});
