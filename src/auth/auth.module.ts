import { Module } from '@nestjs/common';
import { ApiTokens } from './api-tokens.js';
import { Tickets } from './tickets.js';
import { Viewers } from './viewers.js';

/** Who asks: viewers by their issuer's tokens, services and operators by API tokens, players by tickets. */
@Module({ providers: [Viewers, ApiTokens, Tickets], exports: [Viewers, ApiTokens, Tickets] })
export class AuthModule {}
