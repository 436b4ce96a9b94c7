import { IsIn } from 'class-validator';
import { Section, Variable, isProduction } from './variable.js';

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

export class LogSection extends Section {
  static readonly title = 'Log';

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
}
