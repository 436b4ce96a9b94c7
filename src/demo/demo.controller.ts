import { resolve } from 'node:path';
import { Controller, Get, Param, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { type FastifyReply } from 'fastify';
import { Public } from '../auth/access.js';
import { Problem } from '../http/problem.js';

const ROOT = resolve(__dirname, '../..');

/**
 * The demo pages, outside production only: players at the gate at `/`, and `watch` at `/demo/watch.html`. The controller
 * serves only the files that are named here. `npm run build:demo` makes the files of the client and the libraries; `npm start` and
 * the image build run it.
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
      case 'mux.min.js':
        void reply.sendFile(file, resolve(ROOT, 'demo/vendor'));
        return;
      case 'demo.js':
      case 'demo.css':
      case 'watch.html':
      case 'watch.js':
        void reply.sendFile(file, resolve(ROOT, 'demo'));
        return;
      default:
        throw new Problem('not-found', 'The demo has no such file.');
    }
  }
}
