import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Redis, type RedisValue, type Result } from 'ioredis';
import { type EndReason } from '../admission.js';

/**
 * The Lua scripts as typed commands. Each file under lua/ is one operation; its header says what goes in and out.
 * ioredis sends a script by its hash, and whole where the server does not know it.
 */

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
      former: [lastActivityAt: number, phase: number, streamId: string] | null,
      expired: unknown[],
    ]
  | [2, endedAt: number, reason: EndReason]
  | [3, now: number, retryAt: number, holders: unknown[]]
  | [4];

declare module 'ioredis' {
  interface RedisCommander<Context> {
    sgAdmit(...args: RedisValue[]): Result<AdmitReply, Context>;
    sgConfirm(...args: RedisValue[]): Result<0 | 1, Context>;
    sgWithdraw(...args: RedisValue[]): Result<0 | 1, Context>;
    sgEnd(...args: RedisValue[]): Result<[number, unknown[], string[]], Context>;
    sgList(...args: RedisValue[]): Result<[number, ...unknown[]], Context>;
    sgExpire(...args: RedisValue[]): Result<[number, 0 | 1, unknown[]], Context>;
  }
}

export const SCRIPT_NAMES = ['admit', 'confirm', 'withdraw', 'end', 'list', 'expire'] as const;
type ScriptName = (typeof SCRIPT_NAMES)[number];

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
    lua: `#!lua${flags === undefined ? '' : ` flags=${flags}`}\n${readLua('record')}\n${body}`,
    numberOfKeys: body.match(/^-- KEYS\[\d+\]/gm)?.length ?? 0,
  };
}

export function defineScripts(redis: Redis): void {
  for (const name of SCRIPT_NAMES)
    redis.defineCommand(`sg${name[0]!.toUpperCase()}${name.slice(1)}`, readScript(name));
}
