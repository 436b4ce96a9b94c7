import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { Controller, Get, Param, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { type FastifyReply } from 'fastify';
import { Public } from '../auth/access.js';
import { Problem } from '../http/problem.js';

const ROOT = resolve(__dirname, '../..');

/**
 * A page to see it work, outside production only: what it loads is not in the image. A file is named here or is not served;
 * those of the client are there once `npm run build:client` has run, as `npm start` does.
 */
@ApiExcludeController()
@Public()
@Controller()
export class DemoController {
  @Get()
  page(@Res() reply: FastifyReply): void {
    void reply.sendFile('index.html', resolve(ROOT, 'demo'));
  }

  @Get('demo/client/:file')
  client(@Param('file') file: string, @Res() reply: FastifyReply): void {
    if (!/^[a-z]+\.js$/.test(file)) throw new Problem('not-found', 'The client has no such file.');
    void reply.sendFile(file, resolve(ROOT, 'client/dist'));
  }

  @Get('demo/:file')
  file(@Param('file') file: string, @Res() reply: FastifyReply): void {
    switch (file) {
      case 'hls.min.js':
        void reply.sendFile(file, dirname(createRequire(__filename).resolve('hls.js/dist/hls.min.js')));
        return;
      case 'demo.js':
      case 'demo.css':
        void reply.sendFile(file, resolve(ROOT, 'demo'));
        return;
      default:
        throw new Problem('not-found', 'The demo has no such file.');
    }
  }
}
