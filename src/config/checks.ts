import { Transform } from 'class-transformer';
import { ValidateBy } from 'class-validator';

/**
 * A check with one message for any invalid value: the message says which values are valid. `test` gets the whole
 * configuration as `config`, so that it can read the variables of any section.
 */
export function Satisfies(
  message: string,
  test: (value: unknown, config: never) => boolean,
): PropertyDecorator {
  return HasNoFault((value, config) => (test(value, config) ? undefined : message));
}

/** A check whose message depends on the fault. The message must not contain a value, which may be a secret. */
export function HasNoFault(
  faultOf: (value: unknown, config: never) => string | undefined,
): PropertyDecorator {
  return ValidateBy({
    name: 'hasNoFault',
    validator: {
      validate: (value, context) => faultOf(value, context!.object as never) === undefined,
      defaultMessage: (context) => faultOf(context!.value, context!.object as never)!,
    },
  });
}

/** A plain decimal number. Values such as '', '0x10' and '1e3' are refused, because they are probably mistakes. */
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

/** A list of values, separated by commas. */
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

/** Replaces `\n` by line ends, for a PEM in a variable of one line. */
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

/** Whether a value is a URL with a host and one of these protocols, and has no credentials unless they are allowed. */
export function isUrl(
  value: unknown,
  protocols: readonly string[],
  credentials: 'allowed' | 'refused',
): value is string {
  const url = typeof value === 'string' && !/\s/.test(value) ? URL.parse(value) : null;
  if (url === null || url.hostname === '' || !protocols.includes(url.protocol)) return false;
  return credentials === 'allowed' || url.username + url.password === '';
}

/** Whether a value is an origin exactly as browsers write it in `Origin`, because it is compared as text. */
export function isHttpOrigin(value: string): boolean {
  return isUrl(value, HTTP, 'refused') && new URL(value).origin === value && !value.includes('*');
}

export function isText(value: unknown): value is string {
  return typeof value === 'string';
}
