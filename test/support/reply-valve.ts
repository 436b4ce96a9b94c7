import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A proxy between a service and its Redis. It can hold back replies while commands still reach Redis. */
export class ReplyValve {
  private readonly sockets = new Set<Socket>();
  private readonly replies: Socket[] = [];
  private isShut = false;

  private constructor(
    readonly url: string,
    private readonly server: Server,
  ) {}

  static async open(redisUrl: string): Promise<ReplyValve> {
    const target = new URL(redisUrl);
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const front = new URL(redisUrl);
    front.hostname = '127.0.0.1';
    front.port = String((server.address() as AddressInfo).port);
    const valve = new ReplyValve(front.href, server);
    server.on('connection', (client) => {
      const redis = connect(Number(target.port || 6379), target.hostname);
      valve.replies.push(redis);
      client.pipe(redis).pipe(client);
      if (valve.isShut) hold(redis);
      redis.once('close', () => client.end());
      for (const socket of [client, redis]) {
        valve.sockets.add(socket);
        socket.on('error', () => undefined);
      }
    });
    return valve;
  }

  /** Blocks all replies from now on. */
  shut(): void {
    this.isShut = true;
    this.loseHost();
  }

  /** Simulates a lost host: open connections get no replies and are not closed. New connections work. */
  loseHost(): void {
    for (const socket of this.replies) hold(socket);
  }

  /** Closes a connection after the next reply that contains these words. */
  breakAfter(words: string): void {
    for (const socket of this.replies)
      socket.on('data', (data) => {
        if (data.includes(words)) socket.destroy();
      });
  }

  /** Closes all open connections; new connections work. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

function hold(replies: Socket): void {
  replies.unpipe();
  replies.pause();
}
