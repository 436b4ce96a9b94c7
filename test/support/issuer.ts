import { type Server, createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import {
  type CryptoKey,
  type JWK,
  type JWTHeaderParameters,
  SignJWT,
  exportJWK,
  exportSPKI,
  generateKeyPair,
} from 'jose';

interface KeyPair {
  readonly kid: string;
  readonly alg: string;
  readonly publicKey: CryptoKey;
  readonly privateKey: CryptoKey;
}

/** The key that signs a token. */
interface Signer {
  readonly alg: string;
  readonly kid?: string;
  readonly privateKey: CryptoKey | Uint8Array;
}

/** An issuer of tokens with a real JWKS endpoint, on the clock of the test. */
export class Issuer {
  static readonly NAME = 'https://id.example';
  static readonly AUDIENCE = 'streamgate';
  /** How often the keys were fetched. */
  reads = 0;
  /** The answer of the endpoint. */
  status = 200;
  readonly published: JWK[] = [];
  private readonly server: Server = createServer((_request, reply) => {
    this.reads++;
    reply.writeHead(this.status, { 'content-type': 'application/json' });
    reply.end(JSON.stringify({ keys: this.published }));
  });

  constructor(private readonly now: () => number) {}

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
  }

  async stop(): Promise<void> {
    await new Promise((resolve) => this.server.close(resolve));
  }

  get environment(): Record<string, string> {
    return {
      AUTH_MODE: 'jwt',
      AUTH_JWKS_URL: `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/keys`,
      AUTH_ISSUER: Issuer.NAME,
      AUTH_AUDIENCE: Issuer.AUDIENCE,
    };
  }

  async addKey(kid: string, alg = 'RS256'): Promise<KeyPair> {
    const pair = { kid, alg, ...(await newKeyPair(alg)) };
    this.published.push({ ...(await exportJWK(pair.publicKey)), kid, alg });
    return pair;
  }

  /** A token for Ana, valid for an hour, unless the arguments say otherwise. */
  async token(
    { alg, kid, privateKey }: Signer,
    claims: Record<string, unknown> = {},
    header: Partial<JWTHeaderParameters> = {},
  ): Promise<string> {
    return new SignJWT(this.claims(claims))
      .setProtectedHeader({ alg, ...(kid === undefined ? {} : { kid }), ...header })
      .sign(privateKey);
  }

  claims(more: Record<string, unknown> = {}): Record<string, unknown> {
    const exp = this.now() / 1_000 + 3_600;
    return { sub: 'ana', iss: Issuer.NAME, aud: Issuer.AUDIENCE, exp, ...more };
  }
}

export async function newKeyPair(alg: string): Promise<{ publicKey: CryptoKey; privateKey: CryptoKey }> {
  return generateKeyPair(alg, { extractable: true });
}

export async function pemOf(key: CryptoKey): Promise<string> {
  return exportSPKI(key);
}

const SECRET = 'a-secret-of-thirty-two-characters-or-more';

/** A service that shares a secret with the issuer. */
export const BY_SECRET = {
  AUTH_MODE: 'jwt',
  AUTH_JWT_SECRET: SECRET,
  // Both secrets are the same, which nobody should do. Even then, neither kind of token is accepted as the other.
  TICKET_SECRET: SECRET,
  AUTH_ISSUER: Issuer.NAME,
  AUTH_AUDIENCE: Issuer.AUDIENCE,
};
export const HS256 = { alg: 'HS256', privateKey: new TextEncoder().encode(SECRET) };
