import { type Command } from 'commander';
import { createParser } from 'eventsource-parser';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type DeadLetterListJson,
  type OutboxJson,
  type ReplayJson,
  type ResumedJson,
} from '../callbacks/callbacks.schemas.js';
import { type EventJson, type SessionJson, type SessionListJson } from '../sessions/sessions.schemas.js';
import { type Context } from './context.js';
import { Unreachable } from './service-client.js';
import { CliError, EXIT, table } from './terminal.js';

/** The delay before `watch` connects again, unless the service says another one. */
const RETRY_MS = 2_000;

const NOTE = ['--note <text>', 'why, for the audit; at most 200 characters'] as const;

/** The commands that ask a running service. */
export function addServiceCommands(program: Command, context: Context): void {
  addSessions(program.command('sessions').description('show and end the sessions of a user'), context);
  addWatch(program.command('watch'), context);
  addExpiry(program.command('expiry').description('the sweeps that report expired sessions'), context);
  addCallbacks(program.command('callbacks').description('the deliveries to receivers'), context);
}

function addSessions(sessions: Command, context: Context): void {
  sessions
    .command('list')
    .description('list the live sessions of a user (scope sessions:read)')
    .argument('<user>', 'the id of the user')
    .action(async (user: string) => {
      const list = await context.client().get<SessionListJson>(sessionsPath(user));
      context.printer().print(list, () => sessionsText(list, context.terminal.clock.now()));
    });
  sessions
    .command('end')
    .description('end sessions of a user; each place is free at once (scope sessions:end)')
    .argument('<user>', 'the id of the user')
    .argument('[sessions...]', 'the ids of the sessions')
    .option('--all', 'end all sessions of the user')
    .option(...NOTE)
    .action(async (user: string, ids: readonly string[], { all, note }: { all?: true; note?: string }) => {
      if (ids.length > 0 === (all === true)) throw new CliError('Name the sessions to end, or give --all.');
      const client = context.client();
      const headers = noteHeaders(note);
      if (all) await client.delete(sessionsPath(user), headers);
      const ended: string[] = [];
      for (const id of ids)
        try {
          await client.delete(`${sessionsPath(user)}/${encodeURIComponent(id)}`, headers);
          ended.push(id);
        } catch (error) {
          if (!(error instanceof CliError)) throw error;
          // The others are ended all the same.
          context.exitCode = EXIT.failed;
          context.terminal.err.write(`${id}: ${error.message}\n`);
        }
      if (all || ended.length > 0)
        context
          .printer()
          .print(
            { user_id: user, ended: all ? 'all' : ended },
            () => `Ended ${all ? 'all sessions' : ended.join(', ')} of ${user}.`,
          );
    });
}

function noteHeaders(note: string | undefined): Record<string, string> {
  return note === undefined ? {} : { 'x-audit-note': encodeURIComponent(note) };
}

function sessionsPath(user: string): string {
  return `/v1/users/${encodeURIComponent(user)}/sessions`;
}

function sessionsText({ user_id, subject, limit, sessions }: SessionListJson, now: number): string {
  const name = subject === undefined ? user_id : `${subject} (${user_id})`;
  const head = `${name} holds ${sessions.length} of ${limit} places.`;
  if (sessions.length === 0) return head;
  const rows = sessions.map((one) => [
    one.session_id,
    one.state,
    one.stream_id,
    one.device?.name ?? one.device?.id ?? '-',
    durationText(now - Date.parse(one.started_at)),
    durationText(Date.parse(one.expires_at) - now),
  ]);
  return `${head}\n${table([['SESSION', 'STATE', 'STREAM', 'DEVICE', 'SINCE', 'EXPIRES IN'], ...rows])}`;
}

/** Such as `1 h 3 min`, `4 min 10 s` or `12 s`. */
function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

function addWatch(watch: Command, context: Context): void {
  watch
    .description('show what happens to the sessions of a user, as it happens (scope sessions:read)')
    .argument('<user>', 'the id of the user')
    .option('--count <number>', 'stop after so many events', wholeNumber)
    .action(async (user: string, { count = Infinity }: { count?: number }) => {
      await watchUser(context, user, count);
    });
}

/** Follows the event stream until Ctrl+C. After a broken connection it resumes after the last event that it has seen. */
async function watchUser(context: Context, user: string, count: number): Promise<void> {
  const { interrupted, clock, err } = context.terminal;
  const client = context.client();
  const printer = context.printer();
  const ids = new BlockIds();
  let retryMs = RETRY_MS;
  let shown = 0;
  let isOpened = false;
  const parser = createParser({
    onEvent: ({ event = 'message', data }) => {
      if (shown === count) return;
      const at = new Date(clock.now()).toISOString();
      const session = JSON.parse(data || '{}') as Partial<SessionJson> & { reason?: string };
      // These two are about the stream of events.
      if (event === 'unavailable' || event === 'resync') {
        const notice =
          event === 'resync' ? 'Events may be missing: list the sessions.' : 'The service closed the stream.';
        err.write(`${notice}\n`);
        return;
      }
      shown++;
      printer.print({ at, type: event, data: session }, () =>
        eventText(at, event as EventJson['type'], session),
      );
    },
    onRetry: (ms) => (retryMs = ms),
  });
  err.write(`Watching ${user}; Ctrl+C ends this.\n`);
  const isDone = (): boolean => interrupted.aborted || shown >= count;
  while (!isDone()) {
    const headers: Record<string, string> = ids.last === undefined ? {} : { 'last-event-id': ids.last };
    const path = `/v1/users/${encodeURIComponent(user)}/events?explain=true`;
    try {
      const reply = await client.open(path, headers);
      isOpened = true;
      for await (const chunk of reply.body!.pipeThrough(new TextDecoderStream())) {
        parser.feed(chunk);
        ids.feed(chunk);
        if (isDone()) return;
      }
    } catch (error) {
      if (error instanceof CliError && !(error instanceof Unreachable && isOpened) && !interrupted.aborted)
        throw error;
      // The connection broke. It is opened again below, unless the user interrupted.
    }
    parser.reset();
    ids.reset();
    await sleep(retryMs, undefined, { signal: interrupted }).catch(() => undefined);
  }
}

/** The id of the last whole block of an event stream. The parser tells no id of a block without data, as heartbeats are. */
class BlockIds {
  last: string | undefined;
  private inBlock: string | undefined;
  private rest = '';

  feed(chunk: string): void {
    const lines = (this.rest + chunk).split('\n');
    this.rest = lines.pop()!;
    for (const line of lines)
      if (line === '') this.last = this.inBlock ?? this.last;
      else if (line.startsWith('id: ')) this.inBlock = line.slice('id: '.length);
  }

  /** The connection broke; a block that is not whole does not count. */
  reset(): void {
    this.rest = '';
    this.inBlock = undefined;
  }
}

function eventText(
  at: string,
  type: EventJson['type'],
  session: Partial<SessionJson> & { reason?: string },
): string {
  const device = session.device?.name ?? session.device?.id;
  return [
    at,
    type.replace('session.', '').padEnd(8),
    session.session_id ?? '-',
    session.stream_id ?? '-',
    ...(device === undefined ? [] : [`on ${device}`]),
    ...(session.reason === undefined ? [] : [`(${session.reason})`]),
  ].join('  ');
}

interface ExpiryStatusJson {
  readonly paused: boolean;
  readonly partial: boolean;
  readonly since: string | null;
  readonly by: string | null;
  readonly until: string | null;
}

function addExpiry(expiry: Command, context: Context): void {
  const show = (status: ExpiryStatusJson): void => {
    context.printer().print(status, () => expiryText(status));
  };
  expiry
    .command('status')
    .description('show whether the sweeps are paused (scope expiry:pause)')
    .action(async () => show(await context.client().get('/internal/expiry')));
  expiry
    .command('pause')
    .description('pause the sweeps of all instances; the limit stays exact (scope expiry:pause)')
    .option('--by <text>', 'the person or the ticket, for those who ask why')
    .option('--until <instant>', 'when the sweeps resume by themselves, such as 2030-01-01T00:00:00Z')
    .option(...NOTE)
    .action(async ({ note, ...body }: { by?: string; until?: string; note?: string }) =>
      show(await context.client().post('/internal/expiry/pause', body, noteHeaders(note))),
    );
  expiry
    .command('resume')
    .description('resume the sweeps (scope expiry:pause)')
    .option(...NOTE)
    .action(async ({ note }: { note?: string }) =>
      show(await context.client().post('/internal/expiry/resume', undefined, noteHeaders(note))),
    );
}

function expiryText({ paused, partial, since, by, until }: ExpiryStatusJson): string {
  const state = paused
    ? `The sweeps are paused since ${since}, by ${by ?? 'nobody that was named'}, ` +
      `${until === null ? 'until somebody resumes them' : `until ${until}`}.`
    : 'The sweeps run.';
  return partial ? `${state} A part of the store did not answer: call again when it is back.` : state;
}

function addCallbacks(callbacks: Command, context: Context): void {
  callbacks
    .command('list')
    .description('show what waits for each receiver, and the events that were given up (scope expiry:pause)')
    .action(async () => {
      const client = context.client();
      const outbox = await client.get<OutboxJson>('/internal/callbacks');
      const { dead_letters: letters } = await client.get<DeadLetterListJson>(
        '/internal/callbacks/dead-letters',
      );
      context.printer().print({ ...outbox, listed_dead_letters: letters }, () => outboxText(outbox, letters));
    });
  callbacks
    .command('replay')
    .description('deliver events that were given up: all, or those named (scope expiry:pause)')
    .argument('[ids...]', 'the webhook-id of each event')
    .option('--receiver <name>', 'only those of this receiver')
    .option(...NOTE)
    .action(async (ids: readonly string[], { receiver, note }: { receiver?: string; note?: string }) => {
      const body = { ...(ids.length === 0 ? {} : { ids }), ...(receiver === undefined ? {} : { receiver }) };
      let replayed = 0;
      for (let more = true; more && !context.terminal.interrupted.aborted;) {
        const reply = await context
          .client()
          .post<ReplayJson>('/internal/callbacks/dead-letters/replay', body, noteHeaders(note));
        replayed += reply.replayed;
        // Without progress, others replay the same events.
        more = reply.more && reply.replayed > 0;
      }
      if (ids.length > 0 && replayed === 0)
        throw new CliError('No event with these ids was given up: see `streamgate callbacks list`.');
      context.printer().print({ replayed }, () => `${replayed} events wait to be delivered again.`);
    });
  callbacks
    .command('resume')
    .description(
      'deliver again to a receiver that answered 410, from the instance that answers (scope expiry:pause)',
    )
    .option('--receiver <name>', 'only to this receiver')
    .option(...NOTE)
    .action(async ({ note, ...body }: { receiver?: string; note?: string }) => {
      const reply = await context
        .client()
        .post<ResumedJson>('/internal/callbacks/resume', body, noteHeaders(note));
      context
        .printer()
        .print(reply, () => (reply.resumed ? 'The deliveries are resumed.' : 'No deliveries were stopped.'));
    });
}

function outboxText({ receivers }: OutboxJson, letters: DeadLetterListJson['dead_letters']): string {
  const rows = receivers.map((one) => [
    one.name,
    one.failure === null ? one.state : `${one.state}: ${one.failure}`,
    one.waiting,
    one.oldest_at ?? '-',
    one.dead_letters,
    one.lost,
  ]);
  const outbox = table([['RECEIVER', 'STATE', 'WAITING', 'OLDEST', 'DEAD LETTERS', 'LOST'], ...rows]);
  if (letters.length === 0) return outbox;
  const dead = letters.map((one) => [
    one.id,
    one.receiver,
    one.event.type,
    one.event.data.user_id,
    one.given_up_at,
    one.failure,
  ]);
  return `${outbox}\n\n${table([['DEAD LETTER', 'RECEIVER', 'EVENT', 'USER', 'GIVEN UP', 'FAILURE'], ...dead])}`;
}

/** For options of commander. */
export function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new CliError(`${text} is not a whole number, 1 or more.`);
  return Number(text);
}
