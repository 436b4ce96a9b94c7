import { isIP } from 'node:net';
import { IsOptional, IsString } from 'class-validator';
import { List, Satisfies, WholeNumber, isHttpOrigin, isText } from './checks.js';
import { type Given, Section, Variable, isProduction } from './variable.js';
import { authenticates } from './auth.js';

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/;

/** Where the service listens, and how much and from where it lets itself be asked. */
export class ServerSection extends Section {
  static readonly title = 'Server';

  static warnings(given: Given): string[] {
    return !isProduction(given) && !authenticates(given) && !LOOPBACK.test(given.HOST ?? 'localhost')
      ? [
          'HOST lets other machines in, with AUTH_MODE none and NODE_ENV not production: whoever reaches this ' +
            'service watches, lists and ends sessions as any user',
        ]
      : [];
  }

  @Variable(
    {
      meaning: 'the address that it listens on',
      default: (given) => (isProduction(given) ? '0.0.0.0' : '127.0.0.1'),
      defaultText: '`127.0.0.1`, in production `0.0.0.0`',
    },
    IsString(),
  )
  readonly HOST: string;

  @Variable({ meaning: 'the port that it listens on', default: '3000' }, WholeNumber(0, 65_535))
  readonly PORT: number;

  @Variable(
    {
      meaning: 'requests that a user may send in a second, over all instances; `0` is off',
      default: '50',
      shared: true,
    },
    WholeNumber(0, 1_000_000),
  )
  readonly RATE_LIMIT_PER_USER: number;

  @Variable(
    { meaning: 'the same for an address, or a /64 network of IPv6', default: '2000', shared: true },
    WholeNumber(0, 1_000_000),
  )
  readonly RATE_LIMIT_PER_ADDRESS: number;

  @Variable(
    {
      meaning:
        'proxies, as addresses and ranges (`10.0.0.0/16`), whose `X-Forwarded-For`, `-Proto` and `-Host` are believed',
      default: [],
      defaultText: 'none',
    },
    List('must be addresses or ranges as 10.0.0.0/16, with commas between', isAddressRange),
  )
  readonly TRUSTED_PROXIES: readonly string[];

  @Variable(
    {
      meaning:
        'origins whose pages may use the API (`https://example.com`), with commas between; `*` for all, not in production',
      default: [],
      defaultText: 'none',
      shared: true,
    },
    List(
      'must be origins as https://example.com, with commas between; or *, which production does not take',
      (origin, config: ServerSection) => isHttpOrigin(origin) || (origin === '*' && !config.production),
    ),
  )
  readonly CORS_ALLOWED_ORIGINS: readonly string[];

  @Variable(
    {
      meaning:
        'names of request headers that pages may send beside the usual ones, to the API and to the gate, with commas between',
      default: [],
      defaultText: 'none',
      shared: true,
    },
    List('must be names of headers, with commas between', (name) => /^[a-z\d_-]{1,64}$/i.test(name)),
  )
  readonly CORS_ALLOWED_HEADERS: readonly string[];

  @Variable(
    {
      meaning:
        'the commit that the image was built from, which the image sets; `GET /internal/config` tells it',
    },
    IsOptional(),
    Satisfies(
      'must be the name of a commit, of letters, digits, dots and dashes',
      (value) => isText(value) && /^[\w.-]{1,64}$/.test(value),
    ),
  )
  readonly BUILD_COMMIT?: string;
}

/** An address, or a range of them in the form of CIDR. The range of all is refused: any client would be a proxy. */
function isAddressRange(value: string): boolean {
  const [address = '', bits, ...rest] = value.split('/');
  const most = { 0: 0, 4: 32, 6: 128 }[isIP(address)]!;
  if (most === 0 || address.includes('%') || rest.length > 0) return false;
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= most);
}
