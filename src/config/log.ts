import { randomBytes } from 'node:crypto';
import { IsIn } from 'class-validator';
import { WholeNumber } from './checks.js';
import { type Given, Section, Variable, guessable, isProduction } from './variable.js';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** Without LOG_USER_IDS_SECRET, the first of these that is set is the key of the pseudonyms. */
export const OTHER_PSEUDONYM_KEYS = ['MEDIA_SIGNING_SECRET', 'TICKET_SECRET', 'INTERNAL_API_TOKEN'] as const;

export class LogSection extends Section {
  static readonly title = 'Log';

  static warnings(given: Given): string[] {
    return guessable(given, ['LOG_USER_IDS_SECRET']);
  }

  @Variable(
    { meaning: `one of ${LOG_LEVELS.map((level) => `\`${level}\``).join(', ')}`, default: 'info' },
    IsIn(LOG_LEVELS, { message: `must be one of ${LOG_LEVELS.join(', ')}` }),
  )
  readonly LOG_LEVEL: (typeof LOG_LEVELS)[number];

  @Variable(
    {
      meaning: '`json`, or `pretty`, which shows the file and line of each log statement',
      default: (given) => (isProduction(given) ? 'json' : 'pretty'),
      defaultText: '`pretty`, in production `json`',
    },
    IsIn(['json', 'pretty'], { message: 'must be json or pretty' }),
  )
  readonly LOG_FORMAT: 'json' | 'pretty';

  @Variable(
    {
      meaning:
        'how a line names the user: `hash`, a pseudonym; `plain`, the id, with the `subject` of its token if that differs; or `none`',
      default: 'hash',
    },
    IsIn(['hash', 'plain', 'none'], { message: 'must be hash, plain or none' }),
  )
  readonly LOG_USER_IDS: 'hash' | 'plain' | 'none';

  @Variable({
    meaning: 'the key of the pseudonyms',
    secret: true,
    shared: true,
    default: (given) =>
      OTHER_PSEUDONYM_KEYS.map((name) => given[name]).find((secret) => secret !== undefined) ??
      randomBytes(32).toString('base64url'),
    defaultText:
      'the first that is set of `MEDIA_SIGNING_SECRET`, `TICKET_SECRET` and `INTERNAL_API_TOKEN`; else generated at start',
  })
  readonly LOG_USER_IDS_SECRET: string;

  @Variable(
    {
      meaning:
        'renewals that an instance logs in each second; of those beyond, it logs one in 100, with `sampled: 100`. ' +
        'Other decisions, refusals and errors are always logged',
      default: '100',
    },
    WholeNumber(0, 1_000_000),
  )
  readonly LOG_SAMPLE_RENEWALS: number;

  @Variable(
    {
      meaning:
        'whether JSON lines have the file and line of the log statement in `at`, which costs CPU for each line',
      default: 'false',
    },
    IsIn(['true', 'false'], { message: 'must be true or false' }),
  )
  readonly LOG_CALLER: 'true' | 'false';
}
