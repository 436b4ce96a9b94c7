import { Module } from '@nestjs/common';
import { AccessControl } from './access-control.js';
import { ApiTokens } from './api-tokens.js';
import { Players } from './players.js';
import { Tickets } from './tickets.js';
import { Viewers } from './viewers.js';

/** Identifies callers: viewers by their issuer's tokens, services and operators by API tokens, players by tickets. */
@Module({
  providers: [AccessControl, Viewers, Players, ApiTokens, Tickets],
  exports: [AccessControl, Tickets],
})
export class AuthModule {}
