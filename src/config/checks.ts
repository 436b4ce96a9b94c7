import { Transform } from 'class-transformer';
import { ValidateBy } from 'class-validator';

/**
 * One message for each variable, whatever is wrong with its value: the message says what to give. `test` may take any
 * section for `config`, since it gets the configuration whole.
 */
export function Satisfies(
  message: string,
  test: (value: unknown, config: never) => boolean,
): PropertyDecorator {
  return ValidateBy({
    name: 'satisfies',
    validator: {
      validate: (value, context) => test(value, context!.object as never),
      defaultMessage: () => message,
    },
  });
}

/** A plain decimal number: not '', '0x10', '1e3' and the like, which are mistakes more often than meant. */
export function Decimal(message: string, test: (value: number) => boolean): PropertyDecorator {
  return both(
    Transform(({ value }: { value: unknown }) =>
      typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value,
    ),
    Satisfies(message, (value) => typeof value === 'number' && test(value)),
  );
}

export function WholeNumber(least: number, most: number): PropertyDecorator {
  return Decimal(
    `must be a whole number from ${least} to ${most}`,
    (value) => Number.isInteger(value) && value >= least && value <= most,
  );
}

/** Several values with commas between them. */
export function List(message: string, test: (one: string, config: never) => boolean): PropertyDecorator {
  return both(
    Transform(({ value }: { value: unknown }) =>
      typeof value === 'string' ? value.split(',').map((one) => one.trim()) : value,
    ),
    Satisfies(
      message,
      (value, config) => Array.isArray(value) && value.every((one) => test(one as string, config)),
    ),
  );
}

/** A PEM that is passed through a variable of one line has \n for the ends of its lines. */
export function Lines(): PropertyDecorator {
  return Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' ? value.replaceAll('\\n', '\n') : value,
  );
}

function both(...decorators: readonly PropertyDecorator[]): PropertyDecorator {
  return (target, property) => {
    for (const decorate of decorators) decorate(target, property);
  };
}

export const HTTP = ['http:', 'https:'];

/** Whether a value parses as a URL with a host and one of these protocols, and has no password unless it may. */
export function isUrl(
  value: unknown,
  protocols: readonly string[],
  credentials: 'allowed' | 'refused',
): value is string {
  const url = typeof value === 'string' && !/\s/.test(value) ? URL.parse(value) : null;
  if (url === null || url.hostname === '' || !protocols.includes(url.protocol)) return false;
  return credentials === 'allowed' || url.username + url.password === '';
}

/** Whether a value is an origin as a browser writes it in `Origin`, to the letter: it is compared as text. */
export function isHttpOrigin(value: string): boolean {
  return isUrl(value, HTTP, 'refused') && new URL(value).origin === value && !value.includes('*');
}

export function isText(value: unknown): value is string {
  return typeof value === 'string';
}
