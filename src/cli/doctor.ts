import { type Command } from 'commander';
import { type Config, ConfigError } from '../config/config.js';
import { type Context } from './context.js';
import { checkKeys, checkOrigin, checkReceivers } from './doctor-neighbours.js';
import { checkPublicUrl, checkTarget } from './doctor-service.js';
import { checkRedis } from './doctor-redis.js';
import { type Finding, type Level } from './finding.js';
import { EXIT } from './terminal.js';

interface DoctorOptions {
  readonly stream?: string;
  readonly publicUrl?: string;
  readonly strict?: true;
}

/** Checks everything that the service needs, with the variables of this environment. */
export function addDoctor(program: Command, context: Context): void {
  program
    .command('doctor')
    .description('check the configuration and everything that the service depends on, and say how to mend it')
    .option('--stream <id>', 'read this stream of the origin; default: the first that the origin lists')
    .option('--public-url <url>', 'the address that viewers use, to check the proxies before the service')
    .option('--strict', 'exit with 1 for warnings, too')
    .action(async (options: DoctorOptions) => {
      const findings = await examine(context, options);
      const printer = context.printer();
      const count = (level: Level): number => findings.filter((one) => one.level === level).length;
      const [faults, warnings] = [count('fault'), count('warning')];
      printer.print({ healthy: faults === 0, faults, warnings, findings }, () =>
        [...findings.map(findingText), `${faults} faults, ${warnings} warnings.`].join('\n'),
      );
      if (faults > 0 || (options.strict && warnings > 0)) context.exitCode = EXIT.failed;
    });
}

async function examine(context: Context, options: DoctorOptions): Promise<readonly Finding[]> {
  const { config, findings } = checkConfiguration(context);
  const ofService = checkTarget(context);
  if (config === undefined) return [...findings, ...(await ofService)];
  const { clock } = context.terminal;
  const checks = await Promise.all([
    checkRedis(config, clock),
    checkOrigin(config, clock, options.stream),
    checkKeys(config),
    checkReceivers(config),
    checkPublicUrl(config, clock, options.publicUrl),
    ofService,
  ]);
  return [...findings, ...checks.flat()];
}

function checkConfiguration(context: Context): { config: Config | undefined; findings: readonly Finding[] } {
  try {
    const config = context.config();
    const warnings = [...config.warnings, ...(config.alarm === undefined ? [] : [config.alarm])];
    const findings = warnings.map((line) => configurationFinding(line, 'warning'));
    const ok = { check: 'configuration', level: 'ok', finding: 'The configuration is valid.' } as const;
    return { config, findings: [ok, ...findings] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const rest = {
      check: 'configuration',
      level: 'skipped',
      finding:
        'Redis, the origin, the keys and the receivers are not checked before the configuration is valid.',
    } as const;
    const faults = error.faults.map((line) => configurationFinding(line, 'fault'));
    return { config: undefined, findings: [...faults, ...error.unknown.map(unknownVariable), rest] };
  }
}

function unknownVariable(line: string): Finding {
  return configurationFinding(line, 'warning');
}

/** The lines of the configuration say what is wrong, then a colon, then what is right. */
function configurationFinding(line: string, level: Level): Finding {
  const [, subject, rest = line] = /^(.+?): (.*)$/s.exec(line) ?? [];
  const isFault = level === 'fault';
  return {
    check: `configuration.${/^[A-Z_]+/.exec(line)?.[0] ?? 'warning'}`,
    level,
    finding: isFault ? `${subject} is not valid.` : `${subject ?? line}.`,
    remedy: isFault
      ? `${subject} ${rest}.`
      : subject === undefined
        ? 'Remove the variable, or correct it.'
        : `${rest}.`,
  };
}

const MARKS: Readonly<Record<Level, string>> = {
  ok: 'ok     ',
  warning: 'WARNING',
  fault: 'FAULT  ',
  skipped: 'skipped',
};

function findingText({ check, level, finding, remedy }: Finding): string {
  const head = `${MARKS[level]}  ${check}: ${finding}`;
  return remedy === undefined ? head : `${head}\n         -> ${remedy}`;
}
