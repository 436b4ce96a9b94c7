import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Writable } from 'node:stream';
import { type Page } from 'playwright-core';
import { type PlayerName, type PlayerSite, seen } from './player-site.js';
import { findProgram } from './program.js';

/** A player as a viewer sees it: with default settings, and without code of ours. */
export interface Screen {
  /** The position in the film in seconds; 0 before the first picture. */
  position(): Promise<number>;
  /** Whether it has nothing left to show although it should play. */
  isEmpty(): Promise<boolean>;
  /** What a viewer does who was refused; nothing if it plays. */
  retry(): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  close(): Promise<void>;
}

/** A library in a page. */
export async function screenInPage(
  site: PlayerSite,
  name: PlayerName,
  src: string,
  { adapted = false }: { readonly adapted?: boolean } = {},
): Promise<Screen> {
  const page: Page = await site.play(name, src, { adapted });
  return {
    position: async () => (await seen(page)).time,
    isEmpty: async () => {
      const { ahead, ended } = await seen(page);
      return ahead < 0.1 && !ended;
    },
    retry: async () => {
      if ((await seen(page)).time === 0) await page.reload();
    },
    pause: async () => page.evaluate('document.querySelector("video").pause()'),
    resume: async () => page.evaluate('void document.querySelector("video").play()'),
    close: async () => page.close(),
  };
}

interface Recipe {
  readonly args: (url: string) => readonly string[];
  /** What it writes about its position, in seconds. */
  readonly position: RegExp;
  /** Asks for the position, if the program does not tell it by itself. */
  readonly ask?: string;
  readonly pause?: string;
  readonly resume?: string;
  /** The file descriptor of its commands. */
  readonly commands: 0 | 3;
}

const RECIPES = {
  ffmpeg: {
    args: (url) => ['-nostdin', '-v', 'error', '-re', '-i', url, '-progress', '-', '-f', 'null', '-'],
    position: /out_time_us=(\d+)\d{6}\b/g,
    commands: 0,
  },
  mpv: {
    args: (url) => [
      '--no-config',
      '--vo=null',
      '--ao=null',
      '--term-status-msg=at ${=time-pos}\n',
      '--input-ipc-client=fd://3',
      url,
    ],
    position: /at ([\d.]+)/g,
    pause: '{"command":["set_property","pause",true]}\n',
    resume: '{"command":["set_property","pause",false]}\n',
    commands: 3,
  },
  vlc: {
    args: (url) => ['-I', 'oldrc', '--rc-fake-tty', '--vout=vdummy', '--aout=adummy', '--play-and-exit', url],
    position: /^(?:> )*(\d+)\s*$/gm,
    ask: 'get_time\n',
    pause: 'pause\n',
    resume: 'pause\n',
    commands: 0,
  },
} as const satisfies Record<string, Recipe>;
export type ProgramName = keyof typeof RECIPES;
const ASKED_EVERY_MS = 500;
/** A program that stands still for longer has nothing left to show. VLC tells whole seconds only. */
const STILL_MS = 3_000;
/** VLC refuses to run as root. */
const NOBODY = 65_534;

export function isProgram(name: string): name is ProgramName {
  return name in RECIPES;
}

/** The programs of this machine that play; those that are missing are told on standard error. */
export function programsHere(): ProgramName[] {
  return (Object.keys(RECIPES) as ProgramName[]).filter((name) => {
    if (findProgram(name) !== undefined) return true;
    process.stderr.write(`The tests in ${name} are skipped: it is not on this machine.\n`);
    return false;
  });
}

/** A program that plays in real time and throws the pictures away. */
export function screenInProgram(name: ProgramName, url: string): Screen {
  let run = new Run(name, url);
  return {
    position: async () => Promise.resolve(run.position),
    isEmpty: async () => Promise.resolve(run.isEmpty),
    retry: async () => {
      if (run.isOver) run = new Run(name, url);
      return Promise.resolve();
    },
    pause: async () => run.command('pause'),
    resume: async () => run.command('resume'),
    close: async () => run.stop(),
  };
}

class Run {
  position = 0;
  private movedAt = performance.now();
  private isPaused = false;
  private readonly recipe: Recipe;
  private readonly child: ChildProcess;
  private readonly exited: Promise<unknown>;

  constructor(name: ProgramName, url: string) {
    this.recipe = RECIPES[name];
    const isRoot = process.getuid?.() === 0;
    const home = mkdtempSync(join(tmpdir(), `${name}-`));
    chmodSync(home, 0o777);
    this.child = spawn(name, this.recipe.args(url), {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH, HOME: home },
      ...(name === 'vlc' && isRoot && { uid: NOBODY, gid: NOBODY }),
    });
    const { ask } = this.recipe;
    const asking = ask === undefined ? undefined : setInterval(() => this.write(ask), ASKED_EVERY_MS);
    this.exited = this.cleanUp(home, asking);
    for (const output of [this.child.stdout!, this.child.stderr!])
      output.on('data', (text: Buffer) => {
        const last = [...text.toString().matchAll(this.recipe.position)].at(-1);
        const position = Number(last?.[1] ?? 0); // at its end VLC tells 0
        if (position <= this.position) return;
        this.position = position;
        this.movedAt = performance.now();
      });
    for (const stream of this.child.stdio) stream?.on('error', () => undefined); // the program has exited
  }

  /** At the end of the film, the programs exit with 0. */
  get isEmpty(): boolean {
    return !this.isPaused && this.child.exitCode !== 0 && performance.now() - this.movedAt > STILL_MS;
  }

  get isOver(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async command(what: 'pause' | 'resume'): Promise<void> {
    const text = this.recipe[what];
    if (text === undefined) throw new Error('this program cannot pause');
    this.write(text);
    this.isPaused = what === 'pause';
    this.movedAt = performance.now();
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  private async cleanUp(home: string, asking: NodeJS.Timeout | undefined): Promise<void> {
    await once(this.child, 'exit');
    clearInterval(asking);
    rmSync(home, { recursive: true });
  }

  private write(text: string): void {
    if (!this.isOver) (this.child.stdio[this.recipe.commands] as Writable).write(text);
  }
}
