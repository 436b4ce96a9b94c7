import { resolve } from 'node:path';
import { Controller, Get, Param, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiExcludeController } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { NeedsScope, Public, tokenNameOf, userIdNamed } from '../auth/access.js';
import { Config, SCOPES } from '../config/config.js';
import { VERSION } from '../config/effective.js';
import { instant } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { userNaming } from '../observability/pseudonym.js';
import { USER_PARAMS } from '../sessions/sessions.controller.js';
import { Overview } from './overview.js';

const FILES = resolve(__dirname, '../../console');
const SCRIPTS_AND_STYLES = /^[a-z]+\.(js|css)$/;

/**
 * The page for support at `/console` (CONSOLE=on). Its files are public and contain no data. The page gets the sessions and
 * events of a user from the API, like any other client, and only what the API does not have from here.
 */
@ApiExcludeController()
@NeedsScope('sessions:read')
@Controller('console')
export class ConsoleController {
  private readonly nameInLog: (userId: string) => string | undefined;

  constructor(
    private readonly overview: Overview,
    private readonly config: Config,
  ) {
    this.nameInLog = userNaming(config);
  }

  @Get()
  @Public()
  page(@Res() reply: FastifyReply): void {
    void reply.sendFile('index.html', FILES);
  }

  @Get(':file')
  @Public()
  file(@Param('file') file: string, @Res() reply: FastifyReply): void {
    if (!SCRIPTS_AND_STYLES.test(file)) throw new Problem('not-found', 'The console has no such file.');
    void reply.sendFile(file, FILES);
  }

  /** Whether the token is valid, and what it may do. Without any token in the configuration every caller may do all. */
  @Get('data/caller')
  caller(@Req() request: FastifyRequest): object {
    const { caller } = request;
    const scopes = caller !== null && 'scopes' in caller ? caller.scopes : SCOPES;
    return { name: tokenNameOf(request) ?? null, scopes, version: VERSION };
  }

  /** How the log names a user. */
  @Get('data/users/:user_id')
  @RouteSchema({ params: USER_PARAMS })
  user(@Param('user_id') name: string): object {
    const userId = userIdNamed(name);
    return {
      user_id: userId,
      log_name: this.nameInLog(userId) ?? null,
      log_naming: this.config.LOG_USER_IDS,
    };
  }

  @Get('data/overview')
  async figures(): Promise<object> {
    const { minutes, callbacks } = await this.overview.read();
    return {
      minutes: minutes.map(({ from, to, callbacksWaiting, ...counts }) => ({
        from: instant(from),
        to: instant(to),
        ...counts,
        callbacks_waiting: callbacksWaiting,
      })),
      callbacks: {
        receivers: this.config.receivers.length,
        waiting: callbacks.waiting,
        oldest_at: callbacks.oldestAt === undefined ? null : instant(callbacks.oldestAt),
        dead_letters: callbacks.deadLetters,
        lost: callbacks.lost,
      },
    };
  }
}
