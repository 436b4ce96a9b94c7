import { type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { LocalServer } from './local-server.js';

/** A received callback. */
export interface Delivery {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The body as received, which the signature covers. */
  readonly body: string;
  /** The webhook-id header. */
  readonly id: string;
  readonly event: {
    readonly type: string;
    readonly timestamp: string;
    readonly data: Readonly<Record<string, unknown>>;
  };
  /** When it arrived, on the monotonic clock of this process. */
  readonly arrivedAt: number;
}

/** A status, or a status with headers and body. `hold` delays the reply until `letGo`; `hang up` closes the connection. */
type Answer =
  | number
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }
  | 'hold'
  | 'hang up';

/** A real HTTP server that receives callbacks: it records them, and answers as the test wants. */
export class CallbackReceiver extends LocalServer {
  readonly deliveries: Delivery[] = [];
  answer: (delivery: Delivery) => Answer = () => 204;
  private held: ServerResponse[] = [];

  protected handle(request: IncomingMessage, response: ServerResponse): void {
    this.take(request, response).catch(() => undefined); // the client disconnected
  }

  /** The callbacks for one user, in the order of their arrival. */
  of(userId: string): Delivery[] {
    return this.deliveries.filter(({ event }) => event.data.user_id === userId);
  }

  /** How many open requests wait for their reply. */
  get holding(): number {
    return this.held.filter(({ destroyed }) => !destroyed).length;
  }

  /** Answers the held requests. */
  letGo(answer: Answer): void {
    for (const response of this.held.splice(0)) this.reply(response, answer);
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    const delivery: Delivery = {
      method: request.method!,
      path: request.url!,
      headers: request.headers as Record<string, string>,
      body,
      id: request.headers['webhook-id'] as string,
      event: JSON.parse(body) as Delivery['event'],
      arrivedAt: performance.now(),
    };
    this.deliveries.push(delivery);
    this.reply(response, this.answer(delivery));
  }

  private reply(response: ServerResponse, answer: Answer): void {
    if (answer === 'hold') {
      this.held.push(response);
      return;
    }
    if (answer === 'hang up') {
      response.destroy();
      return;
    }
    const { status, headers = {}, body } = typeof answer === 'number' ? { status: answer } : answer;
    response.writeHead(status, headers).end(body);
  }
}
