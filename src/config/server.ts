import { isIP } from 'node:net';
import { IsIn, IsOptional, IsString } from 'class-validator';
import { Decimal, List, Satisfies, WholeNumber, isHttpOrigin, isText } from './checks.js';
import { type Given, Section, Variable, isProduction } from './variable.js';
import { authenticates } from './auth.js';

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/;

/** The address of the service, rate limits, trusted proxies and CORS. */
export class ServerSection extends Section {
  static readonly title = 'Server';

  static warnings(given: Given): string[] {
    return !isProduction(given) && !authenticates(given) && !LOOPBACK.test(given.HOST ?? 'localhost')
      ? [
          'HOST accepts connections of other machines, with AUTH_MODE none and NODE_ENV not production: every client ' +
            'that reaches this service can watch, list and end sessions as any user',
        ]
      : [];
  }

  @Variable(
    {
      meaning: 'the address to listen on',
      default: (given) => (isProduction(given) ? '0.0.0.0' : '127.0.0.1'),
      defaultText: '`127.0.0.1`, in production `0.0.0.0`',
    },
    IsString(),
  )
  readonly HOST: string;

  @Variable({ meaning: 'the port to listen on', default: '3000' }, WholeNumber(0, 65_535))
  readonly PORT: number;

  @Variable(
    {
      meaning:
        'a second port, for probes and operators, who get through here while more clients connect than the service can ' +
        'answer. It answers everything that `PORT` answers: let no client reach it',
      defaultText: 'none',
    },
    IsOptional(),
    WholeNumber(1, 65_535),
  )
  readonly OPERATOR_PORT?: number;

  @Variable(
    {
      meaning:
        'how long after SIGTERM the service still answers, while its readiness is 503: longer than the load balancer takes to notice; fractions allowed',
      default: '2',
    },
    Decimal('must be a number of seconds from 0 to 60', (value) => value >= 0 && value <= 60),
  )
  readonly DRAIN_SECONDS: number;

  @Variable(
    {
      meaning: 'requests per second that a user may send, over all instances; `0` turns the limit off',
      default: '50',
      shared: true,
    },
    WholeNumber(0, 1_000_000),
  )
  readonly RATE_LIMIT_PER_USER: number;

  @Variable(
    { meaning: 'the same for an IPv4 address or an IPv6 network (/64)', default: '2000', shared: true },
    WholeNumber(0, 1_000_000),
  )
  readonly RATE_LIMIT_PER_ADDRESS: number;

  @Variable(
    {
      meaning:
        'proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed, as addresses and ranges (`10.0.0.0/16`). ' +
        'List only proxies: an address that clients can connect from could claim any client address',
      default: [],
      defaultText: 'none',
    },
    List('must be addresses or ranges such as 10.0.0.0/16, separated by commas', isAddressRange),
  )
  readonly TRUSTED_PROXIES: readonly string[];

  @Variable(
    {
      meaning:
        'origins whose pages may use the API (`https://example.com`), separated by commas; `*` for all, not in production',
      default: [],
      defaultText: 'none',
      shared: true,
    },
    List(
      'must be origins such as https://example.com, separated by commas; or *, which production does not accept',
      (origin, config: ServerSection) => isHttpOrigin(origin) || (origin === '*' && !config.production),
    ),
  )
  readonly CORS_ALLOWED_ORIGINS: readonly string[];

  @Variable(
    {
      meaning:
        'names of request headers that pages may send to the API and to the gate, in addition to the usual ones, separated by commas',
      default: [],
      defaultText: 'none',
      shared: true,
    },
    List('must be names of headers, separated by commas', (name) => /^[a-z\d_-]{1,64}$/i.test(name)),
  )
  readonly CORS_ALLOWED_HEADERS: readonly string[];

  @Variable(
    {
      meaning: '`on` serves the [console](docs/console.md) for support at `/console`; `off` does not',
      default: (given) => (isProduction(given) ? 'off' : 'on'),
      defaultText: '`on`, in production `off`',
    },
    IsIn(['on', 'off'], { message: 'must be on or off' }),
  )
  readonly CONSOLE: 'on' | 'off';

  @Variable(
    {
      meaning:
        'the commit that the image was built from; the image sets it, and `GET /internal/config` shows it',
    },
    IsOptional(),
    Satisfies(
      'must be the name of a commit, of letters, digits, dots and dashes',
      (value) => isText(value) && /^[\w.-]{1,64}$/.test(value),
    ),
  )
  readonly BUILD_COMMIT?: string;
}

/** Whether a value is an address or a CIDR range. The range of all addresses is refused: each client would be a proxy. */
function isAddressRange(value: string): boolean {
  const [address = '', bits, ...rest] = value.split('/');
  const most = { 0: 0, 4: 32, 6: 128 }[isIP(address)]!;
  if (most === 0 || address.includes('%') || rest.length > 0) return false;
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= most);
}
