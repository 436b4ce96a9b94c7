import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Policy } from '../admission.js';
import { type Subscription } from '../session-events.js';
import { StoreUnavailableError } from '../session.repository.js';
import { type ScriptKeys } from './keys.js';
import { type RedisLink, wireOf } from './link.js';
import { type Layout } from './layout/layout.js';

/**
 * A Lua script and how it is called. Each is a pair of files under scripts/: the Lua, whose first lines name its KEYS and
 * ARGV, and a function that takes the same by name and returns what it answered as a type of ours.
 */
export interface Script<S extends string = string, A extends string = string> {
  readonly name: string;
  /** What it is about, which says what keys it is given. */
  readonly subject: S;
  /** The names of its arguments, in the order of its ARGV. */
  readonly args: readonly A[];
  /** A full Redis gets it once more, with FULL: then it goes on with what Redis holds already. */
  readonly goesOnWhenFull?: true;
}

/** Every script; filled as the files that define one are loaded. */
const SCRIPTS = new Map<string, Script>();

export function defineScript<const S extends ScriptKeys['subject'], const A extends string>(
  script: Script<S, A>,
): Script<S, A> {
  SCRIPTS.set(script.name, script);
  return script;
}

export function allScripts(): readonly Script[] {
  return [...SCRIPTS.values()];
}

/** What is the same in each call of a process. It is part of the script's text, so that it costs nothing in a call. */
export interface ScriptConstants {
  readonly policy: Omit<Policy, 'quota'>;
  /** The receivers of callbacks, each with an outbox. */
  readonly subscriptions: readonly Subscription[];
  /** The layout that is written. */
  readonly layout: Layout;
  /** Whether messages are sharded, as in a cluster. */
  readonly sharded?: boolean;
}

/** The text of a script with all that it includes, and its constants first. `full`: for a Redis whose memory is full. */
export function assembleScript(
  name: string,
  { policy, subscriptions, layout, sharded = false }: ScriptConstants,
  full = false,
): string {
  const body = include(`scripts/${name}`, layout);
  const flags = full ? 'allow-oom' : /^-- Flags +([a-z-]+)/m.exec(body)?.[1];
  const constants = [
    // How many arguments have a name: those after them are a list.
    SCRIPTS.get(name)!.args.length,
    policy.expireAfterMs,
    policy.leaseMs,
    policy.idleAfterMs,
    policy.maxPauseMs,
    policy.maxAheadMs,
    policy.pacedAheadMs,
    layout,
    `'${subscriptions.map(outboxText).join('')}'`,
    full,
    sharded,
  ];
  // The shebang makes Redis Cluster refuse a key of another slot, rather than answer from an empty one. It also makes a
  // full Redis refuse the script, unless its flags say otherwise.
  return (
    `#!lua${flags === undefined ? '' : ` flags=${flags}`}\n` +
    `local NAMED, TTL, LEASE, X, MAX_PAUSE, MAX_AHEAD, PACED_AHEAD, LAYOUT, OUTBOXES, FULL, SHARDED = ${constants.join(', ')}\n${body}`
  );
}

/** For OUTBOXES of bounds.lua: what the key of the outbox ends in, and the types of its events. */
function outboxText({ receiver, events }: Subscription): string {
  const suffix = receiver === 'default' ? '' : `:${receiver}`;
  const types = events.map((type) => type.replace('session.', ''));
  return types.length === 0 ? '' : `${suffix} ${types.join(' ')} ;`;
}

/** A file, or one section of it, with what it includes in turn. LAYOUT in a name stands for the layout that is written. */
function include(file: string, layout: Layout, section?: string): string {
  const whole = readFileSync(join(__dirname, `${file}.lua`), 'utf8');
  const text =
    section === undefined
      ? whole
      : whole
          .split(/^-- @section /m)
          .find((part) => part.startsWith(`${section}\n`))!
          .slice(section.length + 1);
  return text.replaceAll(
    /^ *-- @include (\S+)(?: (\w+))?$/gm,
    (_, included: string, part: string | undefined) =>
      include(included.replace('LAYOUT', String(layout)), layout, part),
  );
}

interface ScriptText {
  readonly lua: string;
  readonly sha: string;
}

/** Calls the scripts of one process: with its constants, on its connection. */
export class ScriptRunner {
  private readonly assembled = new Map<Script, ScriptText>();
  private readonly assembledForFull = new Map<Script, ScriptText>();

  constructor(
    private readonly link: RedisLink,
    private constants: ScriptConstants,
  ) {}

  get layout(): Layout {
    return this.constants.layout;
  }

  /** From now on this layout is written. */
  write(layout: Layout): void {
    if (layout === this.constants.layout) return;
    this.constants = { ...this.constants, layout };
    this.assembled.clear();
    this.assembledForFull.clear();
  }

  /** `more`: what follows the named arguments. The reply is as Redis gave it; whoever defines a script knows its type. */
  async run<S extends ScriptKeys['subject'], A extends string>(
    script: Script<S, A>,
    keys: ScriptKeys<S>,
    args: Readonly<Record<A, string | number>>,
    more: readonly string[] = [],
  ): Promise<unknown> {
    let { wire } = keys;
    for (const name of script.args) wire += wireOf(args[name]);
    for (const one of more) wire += wireOf(one);
    const count = 1 + keys.count + script.args.length + more.length;
    const call = (full: boolean): Promise<unknown> => {
      const { lua, sha } = this.textOf(script, full);
      return this.link.run({ name: script.name, lua, sha, key: keys.first, count, wire });
    };
    try {
      return await call(false);
    } catch (error) {
      // Redis has looked at the memory before it ran anything of the script.
      if (script.goesOnWhenFull && error instanceof StoreUnavailableError && error.message.startsWith('OOM'))
        return call(true);
      throw error;
    }
  }

  private textOf(script: Script, full: boolean): ScriptText {
    const texts = full ? this.assembledForFull : this.assembled;
    const known = texts.get(script);
    if (known) return known;
    const lua = assembleScript(script.name, { ...this.constants, sharded: this.link.sharded }, full);
    const text = { lua, sha: hash('sha1', lua) };
    texts.set(script, text);
    return text;
  }
}
