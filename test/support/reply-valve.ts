import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** Stands between a service and its Redis, and can hold back what Redis answers: commands arrive, replies do not. */
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

  /** From now on no reply gets through. */
  shut(): void {
    this.isShut = true;
    this.loseHost();
  }

  /** As when a host is lost: no reply gets through on what is open now, and nobody says so. New connections work. */
  loseHost(): void {
    for (const socket of this.replies) hold(socket);
  }

  /** The next reply that holds these words gets through, and is the last on its connection. */
  breakAfter(words: string): void {
    for (const socket of this.replies)
      socket.on('data', (data) => {
        if (data.includes(words)) socket.destroy();
      });
  }

  /** Breaks what is open now; new connections work. */
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
