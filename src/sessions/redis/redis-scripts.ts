import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Redis, type RedisValue, type Result } from 'ioredis';
import { type EndReason } from '../admission.js';
import { ShortLivedCommand } from './short-lived-command.js';

/** The Lua scripts as typed commands. Each file under lua/ is one operation; its header says what goes in and out. */

/** How a session travels in a reply: so many values in a row. */
export type FlatSession = [
  sessionId: string,
  streamId: string,
  startedAt: number,
  lastActivityAt: number,
  phase: number,
];

type AdmitReply =
  | [
      1,
      now: number,
      created: 0 | 1,
      live: number,
      record: [reserved: 0 | 1, startedAt: number, phase: number, version: number],
      former: [lastActivityAt: number, phase: number, streamId: string, pausedMs: number] | null,
    ]
  | [2, endedAt: number, reason: EndReason]
  | [3, now: number, retryAt: number, holders: unknown[]]
  | [4];

type KeepAliveReply =
  [1, now: number, ...session: FlatSession] | [2, endedAt: number, reason: EndReason] | [3];

/** An entry of a stream: its id, and names and values in turn. */
export type StreamEntry = [id: string, fields: string[]];

declare module 'ioredis' {
  interface RedisCommander<Context> {
    sgAdmit(...args: RedisValue[]): Result<AdmitReply, Context>;
    sgConfirm(...args: RedisValue[]): Result<0 | 1, Context>;
    sgWithdraw(...args: RedisValue[]): Result<0 | 1, Context>;
    sgKeepalive(...args: RedisValue[]): Result<KeepAliveReply, Context>;
    sgEnd(...args: RedisValue[]): Result<[number, unknown[], string[]], Context>;
    sgList(...args: RedisValue[]): Result<[number, ...unknown[]], Context>;
    sgExpire(...args: RedisValue[]): Result<[expired: number, more: 0 | 1 | 2, paused: 0 | 1], Context>;
    sgPause(...args: RedisValue[]): Result<1, Context>;
    sgTake(...args: RedisValue[]): Result<[entry: StreamEntry, given: number][], Context>;
    sgSettle(...args: RedisValue[]): Result<number, Context>;
    sgRelease(...args: RedisValue[]): Result<number, Context>;
    sgCount(...args: RedisValue[]): Result<number, Context>;
    sgReplay(...args: RedisValue[]): Result<number, Context>;
  }
}

export const SCRIPT_NAMES = [
  'admit',
  'confirm',
  'withdraw',
  'keepalive',
  'end',
  'list',
  'expire',
  'pause',
  'take',
  'settle',
  'release',
  'replay',
  'count',
] as const;
type ScriptName = (typeof SCRIPT_NAMES)[number];

/** What the scripts have in common; each gets all of it. */
export const SHARED_LUA = ['record', 'events'] as const;

export interface Script {
  readonly lua: string;
  readonly numberOfKeys: number;
}

function readLua(name: string): string {
  return readFileSync(join(__dirname, 'lua', `${name}.lua`), 'utf8');
}

/** The flags and the number of keys are read from the header, so that the header cannot go stale. */
export function readScript(name: ScriptName): Script {
  const body = readLua(name);
  const [, flags] = /^-- Flags +([a-z-]+)/m.exec(body) ?? [];
  return {
    // The shebang makes Redis Cluster refuse a key of another slot, rather than answer from an empty one. It also
    // makes a full Redis refuse the script, but for those whose flags say otherwise.
    lua: `#!lua${flags === undefined ? '' : ` flags=${flags}`}\n${[...SHARED_LUA.map(readLua), body].join('\n')}`,
    numberOfKeys: body.match(/^-- KEYS\[\d+\]/gm)?.length ?? 0,
  };
}

/** Gives a connection the commands that are declared above. */
export function defineScripts(redis: Redis): void {
  for (const name of SCRIPT_NAMES) {
    const command = `sg${name[0]!.toUpperCase()}${name.slice(1)}`;
    Object.assign(redis, { [command]: openScript(redis, readScript(name)) });
  }
}

/** Sends a script by its hash, and whole where the server does not know it; then it has not run. */
function openScript(redis: Redis, { lua, numberOfKeys }: Script) {
  const sha = hash('sha1', lua);
  const send = async (name: 'evalsha' | 'eval', script: string, args: RedisValue[]): Promise<unknown> =>
    redis.sendCommand(
      new ShortLivedCommand(name, [script, numberOfKeys, ...args], { replyEncoding: 'utf8' }),
    );
  return async (...args: RedisValue[]): Promise<unknown> =>
    send('evalsha', sha, args).catch((error: Error) => {
      if (!error.message.startsWith('NOSCRIPT')) throw error;
      return send('eval', lua, args);
    });
}
