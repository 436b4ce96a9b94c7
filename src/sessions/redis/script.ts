import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Policy } from '../admission.js';
import { type Subscription } from '../session-events.js';
import { StoreUnavailableError } from '../session.repository.js';
import { type ScriptKeys, fenceKeyOf, suffixOf } from './keys.js';
import { NotReplicatedError, type RedisLink, wireOf } from './link.js';
import { type Layout } from './layout/layout.js';

/**
 * A Lua script and its interface. Each script is a pair of files in scripts/. The Lua file names its KEYS and ARGV in
 * the first lines. The TypeScript file has a function that takes the same arguments by name and returns a typed reply.
 */
export interface Script<S extends string = string, A extends string = string> {
  readonly name: string;
  /** What the script is about. This determines its keys. */
  readonly subject: S;
  /** The names of its arguments, in the order of its ARGV. */
  readonly args: readonly A[];
  /** True if a full Redis runs it again with FULL, in which case it only continues sessions that have a record. */
  readonly goesOnWhenFull?: true;
  /** With ADMIT_DURABILITY=replicated: whether what a call with this reply wrote must be on a replica. */
  readonly needsReplica?: (reply: unknown) => boolean;
}

/** All scripts. Each file that defines one adds it when it is loaded. */
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

/** Values that never change in a process. They are part of a script's text, so that calls do not carry them. */
export interface ScriptConstants {
  readonly policy: Omit<Policy, 'quota'>;
  /** The receivers of callbacks, each with an outbox. */
  readonly subscriptions: readonly Subscription[];
  /** The layout in which values are written. */
  readonly layout: Layout;
  /** Whether messages are sharded, as in a cluster. */
  readonly sharded?: boolean;
}

/** The text of a script: its constants, then its file with all includes. `full`: for a Redis whose memory is full. */
export function assembleScript(
  name: string,
  { policy, subscriptions, layout, sharded = false }: ScriptConstants,
  full = false,
): string {
  const body = include(`scripts/${name}`, layout);
  const flags = full ? 'allow-oom' : /^-- Flags +([a-z-]+)/m.exec(body)?.[1];
  const constants = [
    // The number of named arguments. The arguments after them are a list.
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
  // Because of the shebang, Redis Cluster refuses a key of another slot and does not treat it as empty. Also because
  // of it, a full Redis refuses the script unless its flags allow it.
  return (
    `#!lua${flags === undefined ? '' : ` flags=${flags}`}\n` +
    `local NAMED, TTL, LEASE, X, MAX_PAUSE, MAX_AHEAD, PACED_AHEAD, LAYOUT, OUTBOXES, FULL, SHARDED = ${constants.join(', ')}\n${body}`
  );
}

/** A receiver in OUTBOXES of events.lua: the suffix of the key of its outbox, and the types of its events. */
function outboxText({ receiver, events }: Subscription): string {
  const types = events.map((type) => type.replace('session.', ''));
  return types.length === 0 ? '' : `${suffixOf(receiver)} ${types.join(' ')} ;`;
}

/** A file, or one section of it, with all includes. LAYOUT in a file name stands for the layout that is written. */
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

/** The texts of the scripts with these constants. Each is assembled when it is first needed. */
class ScriptTexts {
  private readonly assembled = new Map<Script, ScriptText>();
  private readonly assembledForFull = new Map<Script, ScriptText>();

  constructor(readonly constants: ScriptConstants) {}

  of(script: Script, full: boolean): ScriptText {
    const texts = full ? this.assembledForFull : this.assembled;
    const known = texts.get(script);
    if (known) return known;
    const lua = assembleScript(script.name, this.constants, full);
    const text = { lua, sha: hash('sha1', lua) };
    texts.set(script, text);
    return text;
  }
}

type OwnConstants = Pick<ScriptConstants, 'policy' | 'subscriptions'>;

/** Runs the scripts of one process, with its constants and on its connection. */
export class ScriptRunner {
  private readonly constants: OwnConstants;
  private texts: ScriptTexts | undefined;

  /** While the layout is undefined, no script runs before `decide`, which calls `write` or rejects. */
  constructor(
    private readonly link: RedisLink,
    { layout, ...constants }: OwnConstants & { readonly layout: Layout | undefined },
    private readonly decide: () => Promise<void> = async () =>
      Promise.reject(new Error('there is no layout')),
  ) {
    this.constants = constants;
    this.write(layout);
  }

  get layout(): Layout | undefined {
    return this.texts?.constants.layout;
  }

  /** Sets the layout in which values are written from now on; undefined until it is decided again. */
  write(layout: Layout | undefined): void {
    if (layout === this.layout) return;
    const { sharded } = this.link;
    this.texts = layout && new ScriptTexts({ ...this.constants, layout, sharded });
  }

  /**
   * `more`: the arguments after the named ones. Returns the raw reply; the file of the script knows its type. Rejects with
   * NotReplicatedError if a replica must have what the script wrote, and does not.
   */
  async run<S extends ScriptKeys['subject'], A extends string>(
    script: Script<S, A>,
    keys: ScriptKeys<S>,
    args: Readonly<Record<A, string | number>>,
    more: readonly string[] = [],
  ): Promise<unknown> {
    // While it waits, another connection may have made the decision void.
    while (this.texts === undefined) await this.decide();
    const { texts } = this;
    let { wire } = keys;
    for (const name of script.args) wire += wireOf(args[name]);
    for (const one of more) wire += wireOf(one);
    const { needsReplica } = script;
    const replication =
      needsReplica && this.link.awaitsReplica
        ? { needed: needsReplica, fence: fenceKeyOf(keys.first) }
        : undefined;
    const count = 1 + keys.count + script.args.length + more.length;
    const call = (full: boolean): Promise<unknown> => {
      const { lua, sha } = texts.of(script, full);
      return this.link.run({ name: script.name, lua, sha, key: keys.first, count, wire }, replication);
    };
    try {
      return await call(false);
    } catch (error) {
      if (error instanceof NotReplicatedError || !(error instanceof StoreUnavailableError)) throw error;
      // Redis checks its memory before it runs a script, so nothing of the script has run yet.
      if (script.goesOnWhenFull && error.message.startsWith('OOM')) return call(true);
      throw error;
    }
  }

  /** Rejects if a replica must have what scripts write, and none is there. */
  async requireReplica({ first }: ScriptKeys<'user'>): Promise<void> {
    await this.link.awaitReplica(fenceKeyOf(first));
  }
}
