// Generated from docs/openapi.json by `npm run docs:openapi`: do not edit.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
  schemas: {
    readonly ActivityReport: {
      /**
       * @description In any order. The same session may be in it several times.
       * @example [
       *       {
       *         "user_id": "ana",
       *         "session_id": "tv",
       *         "at": "2030-01-01T00:00:00.000Z"
       *       }
       *     ]
       */
      readonly activity: readonly {
        /**
         * @description The user that the limit is for: the id as replies have it, or with AUTH_MODE=jwt the very subject that the issuer uses.
         * @example ana
         */
        readonly user_id: string;
        /**
         * @description One place to watch, held by one client.
         * @example living-room
         */
        readonly session_id: string;
        /**
         * Format: date-time
         * @description When the player fetched something.
         */
        readonly at: string;
      }[];
    };
    readonly ActivityResult: {
      /** @description Entries of live sessions. The last activity of each session is now the latest of its entries, or later. */
      readonly noted: number;
      /** @description Entries of sessions that were ended. Nothing changed. */
      readonly ended: number;
      /** @description Entries of sessions that the user does not hold, or no longer. Nothing changed. */
      readonly unknown: number;
    };
    readonly AuditEntry: {
      /** @description The name of this entry; no other has it. */
      readonly id: string;
      /**
       * Format: date-time
       * @description When it was done, on the clock of the instance that did it.
       */
      readonly at: string;
      readonly by: string | null;
      /**
       * @description The scope that allowed it.
       * @enum {string}
       */
      readonly scope:
        | 'sessions:read'
        | 'sessions:end'
        | 'expiry:run'
        | 'expiry:pause'
        | 'activity:write'
        | 'config:read'
        | 'log:write'
        | 'audit:read'
        | 'metrics';
      /** @enum {string} */
      readonly action:
        | 'sessions.end'
        | 'expiry.pause'
        | 'expiry.resume'
        | 'callbacks.replay'
        | 'callbacks.resume'
        | 'log-level.set';
      readonly target: components['schemas']['AuditTarget'];
      readonly before: {
        readonly [key: string]: unknown;
      } | null;
      readonly after: {
        readonly [key: string]: unknown;
      } | null;
      /**
       * @description `unknown`: the change failed, for example because the store did not answer. It may have taken effect, also in part.
       * @enum {string}
       */
      readonly outcome: 'done' | 'unknown';
      readonly note: string | null;
      /** @description The id of the request, `reqId` in the log. */
      readonly request_id: string;
    };
    /** @description What was changed. Without a member it is the whole system. */
    readonly AuditTarget: {
      /** @description The user, in plain text. */
      readonly user_id?: string;
      /** @description Absent if all sessions of the user were meant. */
      readonly session_id?: string;
      /** @description Absent if all receivers of callbacks were meant. */
      readonly receiver?: string;
      /** @description The host name of the instance, where only one instance is changed. */
      readonly instance?: string;
    };
    readonly Configuration: {
      /**
       * @description The version of the service.
       * @example 0.1.0
       */
      readonly version: string;
      readonly commit: string | null;
      /** @description Each variable by its name, with the value that this instance uses, defaults included; null if it has none. A secret is an object that says whether it is set. Queries of URLs are left out. */
      readonly variables: {
        readonly [key: string]:
          | string
          | number
          | null
          | readonly string[]
          | {
              /** @description Whether the secret was given. */
              readonly set: boolean;
            };
      };
    };
    readonly DeadLetter: {
      /** @description The webhook-id of the event. */
      readonly id: string;
      /**
       * @description The name of a receiver; `default` for that of CALLBACK_URL.
       * @example default
       */
      readonly receiver: string;
      readonly event: components['schemas']['Event'];
      /** @description How often the delivery was tried. */
      readonly tries: number;
      /** @description Why the last try failed. */
      readonly failure: string;
      /**
       * Format: date-time
       * @description When it was given up.
       */
      readonly given_up_at: string;
    };
    readonly DeadLetterList: {
      readonly dead_letters: readonly components['schemas']['DeadLetter'][];
    };
    readonly Device: {
      /**
       * @description The id of the device. It must be the same in each session.
       * @example living-room-tv
       */
      readonly id: string;
      /**
       * @description A name for people.
       * @example Living-room TV
       */
      readonly name?: string;
      /**
       * @example tv
       * @example phone
       * @example web
       */
      readonly type?: string;
      /** @description True for a device that can play several streams at the same time, such as a browser with tabs. Otherwise a new session of the device takes the place of its previous session. */
      readonly shared?: boolean;
    };
    readonly Event: {
      /** @enum {string} */
      readonly type:
        'session.started' | 'session.moved' | 'session.ended' | 'session.expired' | 'session.refused';
      /**
       * Format: date-time
       * @description When the event happened.
       */
      readonly timestamp: string;
      /** @description The session at that instant. For `session.refused` only ids, since no session was created. */
      readonly data: components['schemas']['EventSession'] | components['schemas']['RefusedSession'];
    };
    readonly EventSession: {
      /**
       * @description One place to watch, held by one client.
       * @example living-room
       */
      readonly session_id: string;
      /**
       * @description The user that the limit is for.
       * @example ana
       */
      readonly user_id: string;
      /**
       * @description The user as the issuer names them; present where it is known and differs from user_id.
       * @example auth0|507f1f77bcf86cd799439011
       */
      readonly subject?: string;
      /**
       * @description The stream that the session plays now.
       * @example test-pattern
       */
      readonly stream_id: string;
      /** @enum {string} */
      readonly state: 'active' | 'idle' | 'expired' | 'ended';
      /**
       * Format: date-time
       * @description When the session was admitted.
       */
      readonly started_at: string;
      /**
       * Format: date-time
       * @description When the session last received a phase.
       */
      readonly last_activity_at: string;
      /**
       * Format: date-time
       * @description When everything that the session received would have been played at normal speed.
       */
      readonly plays_until: string;
      /**
       * Format: date-time
       * @description When the session becomes idle if it sends no request: the later of last_activity_at + X and plays_until.
       */
      readonly idle_at: string;
      /**
       * Format: date-time
       * @description When its place becomes free if it sends no request: idle_at + (n-1)·X.
       */
      readonly expires_at: string;
      /** @description The phase that the session received last. */
      readonly phase: number;
      readonly device?: components['schemas']['Device'];
      /**
       * @description Why the session was ended.
       * @enum {string}
       */
      readonly reason?: 'user' | 'operator' | 'replaced' | 'left';
      readonly replaced_by?: {
        /**
         * @description One place to watch, held by one client.
         * @example living-room
         */
        readonly session_id: string;
        readonly device?: components['schemas']['Device'];
      };
    };
    readonly ExpiryStatus: {
      readonly paused: boolean;
      /** @description True if this does not hold for a part of the store, which did not answer when it was told. Call again when it is back. */
      readonly partial: boolean;
      readonly since: string | null;
      readonly by: string | null;
      readonly until: string | null;
    };
    readonly FieldError: {
      readonly field: string;
      readonly message: string;
    };
    readonly Forbidden: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:forbidden';
      /** @constant */
      readonly title: 'The token does not allow this';
      /** @constant */
      readonly code: 'forbidden';
    };
    readonly Health: {
      /** @constant */
      readonly status: 'ok';
    };
    readonly InvalidRequest: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:invalid-request';
      /** @constant */
      readonly title: 'The request is not valid';
      /** @constant */
      readonly code: 'invalid-request';
      readonly errors: readonly components['schemas']['FieldError'][];
    };
    readonly KeptSession: {
      readonly session: components['schemas']['Session'];
    };
    readonly KeysUnavailable: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:keys-unavailable';
      /** @constant */
      readonly title: 'Tokens cannot be checked right now';
      /** @constant */
      readonly code: 'keys-unavailable';
    };
    readonly LogLevel: {
      /**
       * @example debug
       * @enum {string}
       */
      readonly level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';
      /**
       * Format: date-time
       * @description When LOG_LEVEL holds again.
       */
      readonly until: string;
    };
    readonly LogLevelRequest: {
      /**
       * @example debug
       * @enum {string}
       */
      readonly level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';
      /** @description For how long; 10 by default. */
      readonly minutes?: number;
    };
    readonly MalformedRequest: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:malformed-request';
      /** @constant */
      readonly title: 'The request cannot be read';
      /** @constant */
      readonly code: 'malformed-request';
    };
    readonly MinimalPhaseReply: {
      readonly phase: components['schemas']['Phase'];
      /**
       * Format: date-time
       * @description When the place becomes free if the session sends no request.
       */
      readonly expires_at: string;
      /** @description In how many seconds to request the next phase. */
      readonly next_request_in_seconds: number;
      /**
       * @description The store is away, and this instance continued the session by itself (STORE_DOWN_POLICY=open), for a bounded time.
       * @constant
       */
      readonly degraded?: true;
    };
    readonly NotReady: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:not-ready';
      /** @constant */
      readonly title: 'The service is not ready';
      /** @constant */
      readonly code: 'not-ready';
    };
    readonly NotYourSession: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:not-your-session';
      /** @constant */
      readonly title: 'This is not yours to ask for';
      /** @constant */
      readonly code: 'not-your-session';
    };
    readonly OriginUnavailable: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:origin-unavailable';
      /** @constant */
      readonly title: 'The origin of the stream failed';
      /** @constant */
      readonly code: 'origin-unavailable';
    };
    readonly Outbox: {
      /** @description Events that are not delivered yet. An event for two receivers counts twice. */
      readonly waiting: number;
      readonly oldest_at: string | null;
      /** @description Events that were given up. */
      readonly dead_letters: number;
      /** @description Events that were dropped, because too many waited or were given up. */
      readonly lost: number;
      /** @description The same for each receiver. */
      readonly receivers: readonly components['schemas']['Receiver'][];
    };
    readonly PauseRequest: {
      /** @description The person or system that pauses. */
      readonly by?: string;
      /**
       * Format: date-time
       * @description When sweeps resume automatically.
       */
      readonly until?: string;
    } | null;
    readonly PayloadTooLarge: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:payload-too-large';
      /** @constant */
      readonly title: 'The request body is too large';
      /** @constant */
      readonly code: 'payload-too-large';
    };
    readonly Phase: {
      readonly index: number;
      readonly start_seconds: number;
      readonly duration_seconds: number;
      /** @description True if no phase follows. */
      readonly last: boolean;
      /** @description The segments that start in the phase; empty if none does. */
      readonly segments: readonly components['schemas']['Segment'][];
      /**
       * Format: date-time
       * @description When the URLs expire.
       */
      readonly expires_at: string;
    };
    readonly PhaseNotFound: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:phase-not-found';
      /** @constant */
      readonly title: 'The stream has no such phase';
      /** @constant */
      readonly code: 'phase-not-found';
    };
    readonly PhaseReply: {
      readonly session: components['schemas']['Session'];
      readonly phase: components['schemas']['Phase'];
      readonly sessions: {
        /** @description How many sessions the user holds now. */
        readonly live: number;
        /** @description How many sessions the user may hold at the same time. */
        readonly limit: number;
      };
      /** @description In how many seconds to request the next phase. */
      readonly next_request_in_seconds: number;
      /**
       * Format: uri
       * @description The URL of the playlist for this session, for a player that does not use phases. With AUTH_MODE=jwt the player must open it within minutes.
       */
      readonly playback_url: string;
      /**
       * @description The store is away, and this instance continued the session by itself (STORE_DOWN_POLICY=open), for a bounded time.
       * @constant
       */
      readonly degraded?: true;
    };
    readonly PhaseRequest: {
      /**
       * @description The user that the limit is for, by id. It is required with AUTH_MODE=none. With AUTH_MODE=jwt it may be left out, since the token names the user, and it may also be the subject that the token has.
       * @example ana
       */
      readonly user_id?: string;
      /**
       * @description The id of a stream: a film or a channel.
       * @example test-pattern
       */
      readonly stream_id: string;
      /**
       * @description Absent: a new session. The server makes its id.
       * @example living-room
       */
      readonly session_id?: string;
      readonly device?: components['schemas']['Device'];
      /** @description Absent: the phase after the last one that this session received of its stream. */
      readonly phase?: number;
      /** @description The number of a rendition, from GET /v1/streams/{stream_id}/renditions. Absent: the first variant, or the next one where that is gone or empty. */
      readonly rendition?: number;
      /** @description Sessions of the same user that are ended if, and only if, this one is admitted, in one atomic step. */
      readonly end_session_ids?: readonly string[];
    };
    /** @description An error, as problem details (RFC 9457). */
    readonly Problem: {
      /**
       * Format: uri
       * @description Stable, to compare and not to fetch.
       */
      readonly type: string;
      readonly title: string;
      /** @description The status code of the reply. */
      readonly status: number;
      /** @description What to do about it. */
      readonly detail: string;
      /** @description The request's id, as in the log and in X-Request-Id. */
      readonly instance: string;
      /** @enum {string} */
      readonly code:
        | 'malformed-request'
        | 'unauthorized'
        | 'token-unusable'
        | 'not-your-session'
        | 'forbidden'
        | 'url-invalid'
        | 'url-expired'
        | 'not-found'
        | 'stream-not-found'
        | 'phase-not-found'
        | 'session-not-found'
        | 'method-not-allowed'
        | 'request-timeout'
        | 'session-limit-reached'
        | 'session-ended'
        | 'precondition-failed'
        | 'payload-too-large'
        | 'unsupported-media-type'
        | 'range-not-satisfiable'
        | 'expectation-failed'
        | 'invalid-request'
        | 'too-far-ahead'
        | 'rate-limited'
        | 'headers-too-large'
        | 'internal-error'
        | 'origin-unavailable'
        | 'keys-unavailable'
        | 'store-unavailable'
        | 'not-ready';
    };
    readonly RateLimited: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:rate-limited';
      /** @constant */
      readonly title: 'Asked too often';
      /** @constant */
      readonly code: 'rate-limited';
    };
    readonly Readiness: {
      /** @description `degraded`: some nodes of the Redis Cluster do not answer. Their users get 503; the service serves all others, so that a load balancer keeps it. With ADMIT_DURABILITY=replicated also while no replica follows, so that new sessions get 503. With STORE_DOWN_POLICY=open also for n·X after the store answered last, while known sessions continue. */
      readonly status: 'ok' | 'degraded';
    };
    readonly Receiver: {
      /**
       * @description The name of a receiver; `default` for that of CALLBACK_URL.
       * @example default
       */
      readonly name: string;
      /** @description Its events that are not delivered yet. */
      readonly waiting: number;
      readonly oldest_at: string | null;
      /** @description Its events that were given up. */
      readonly dead_letters: number;
      /** @description Its events that were dropped, because too many waited or were given up. */
      readonly lost: number;
      /**
       * @description `failing`: every try has failed for a while. `resting`: it asked for fewer requests, by 429 or by 503 with Retry-After. `stopped`: it answered 410, and gets nothing until an operator resumes the deliveries.
       * @enum {string}
       */
      readonly state: 'working' | 'failing' | 'resting' | 'stopped';
      readonly since: string | null;
      readonly failure: string | null;
    };
    readonly RefusedSession: {
      /**
       * @description One place to watch, held by one client.
       * @example living-room
       */
      readonly session_id: string;
      /**
       * @description The user that the limit is for.
       * @example ana
       */
      readonly user_id: string;
      /**
       * @description The user as the issuer names them; present where it is known and differs from user_id.
       * @example auth0|507f1f77bcf86cd799439011
       */
      readonly subject?: string;
      /**
       * @description The stream that was requested.
       * @example test-pattern
       */
      readonly stream_id: string;
      /** @constant */
      readonly reason: 'session-limit-reached';
      readonly device?: components['schemas']['Device'];
      /** @description How many sessions the user may hold at the same time. */
      readonly limit?: number;
      /** @description The sessions that held the places then, ten at most. Only streams of events have it. */
      readonly sessions?: readonly components['schemas']['Session'][];
    };
    readonly Rendition: {
      /** @description The number of the rendition, for requests. */
      readonly rendition: number;
      /** @enum {string} */
      readonly type: 'variant' | 'trick-play' | 'audio' | 'video' | 'subtitles';
      /** @description Bits per second. */
      readonly bandwidth?: number;
      readonly codecs?: string;
      readonly resolution?: {
        readonly width: number;
        readonly height: number;
      };
      readonly name?: string;
      readonly language?: string;
    };
    readonly RenditionList: {
      readonly renditions: readonly components['schemas']['Rendition'][];
    };
    readonly Replay: {
      /** @description How many events wait to be delivered again. */
      readonly replayed: number;
      /** @description There are more: call again. */
      readonly more: boolean;
    };
    readonly ReplayRequest: {
      readonly ids?: readonly string[];
      /**
       * @description The name of a receiver; `default` for that of CALLBACK_URL.
       * @example default
       */
      readonly receiver?: string;
    } | null;
    readonly ResumeRequest: {
      /**
       * @description The name of a receiver; `default` for that of CALLBACK_URL.
       * @example default
       */
      readonly receiver?: string;
    } | null;
    readonly Resumption: {
      /** @description False where deliveries were not stopped on the instance that answers. */
      readonly resumed: boolean;
    };
    readonly Segment: {
      /**
       * Format: uri
       * @description Signed, and works until the expires_at of the phase; of another host, as the origin has it.
       */
      readonly url: string;
      readonly duration_seconds: number;
      /** @description The media sequence number. */
      readonly sequence?: number;
      /** @description The part of what the URL names. */
      readonly byte_range?: {
        readonly offset: number;
        readonly length: number;
      };
      /** @description The initialisation section to decode before the segment, of fragmented MP4. */
      readonly init?: {
        /**
         * Format: uri
         * @description Signed, and works until the expires_at of the phase; of another host, as the origin has it.
         */
        readonly url: string;
        /** @description The part of what the URL names. */
        readonly byte_range?: {
          readonly offset: number;
          readonly length: number;
        };
        /** @description How the section is encrypted. Absent: as the segment. With the method NONE, it is not encrypted. */
        readonly key?: {
          /** @description As EXT-X-KEY has it, such as AES-128. */
          readonly method: string;
          /**
           * Format: uri
           * @description Signed, and works until the expires_at of the phase; of another host, as the origin has it.
           */
          readonly url?: string;
          /** @description Absent: it is made of `sequence`. */
          readonly iv?: string;
          /** @description KEYFORMAT; absent for identity. */
          readonly format?: string;
        };
      };
      /**
       * Format: uri
       * @deprecated
       * @description As init.url, for clients of release 0.1.
       */
      readonly init_url?: string;
      /** @description How the segment is encrypted. */
      readonly key?: {
        /** @description As EXT-X-KEY has it, such as AES-128. */
        readonly method: string;
        /**
         * Format: uri
         * @description Signed, and works until the expires_at of the phase; of another host, as the origin has it.
         */
        readonly url?: string;
        /** @description Absent: it is made of `sequence`. */
        readonly iv?: string;
        /** @description KEYFORMAT; absent for identity. */
        readonly format?: string;
      };
      /**
       * @description Timestamps, tracks or encoding begin anew with the segment.
       * @constant
       */
      readonly discontinuity?: true;
      /**
       * @description The segment is missing: do not load it.
       * @constant
       */
      readonly gap?: true;
      /**
       * Format: date-time
       * @description When its first sample was recorded.
       */
      readonly program_date_time?: string;
    };
    readonly Session: {
      /**
       * @description One place to watch, held by one client.
       * @example living-room
       */
      readonly session_id: string;
      /**
       * @description The user that the limit is for.
       * @example ana
       */
      readonly user_id: string;
      /**
       * @description The user as the issuer names them; present where it is known and differs from user_id.
       * @example auth0|507f1f77bcf86cd799439011
       */
      readonly subject?: string;
      /**
       * @description The stream that the session plays now.
       * @example test-pattern
       */
      readonly stream_id: string;
      /**
       * @description A session is idle when it has sent no request for X seconds and has nothing left to play.
       * @enum {string}
       */
      readonly state: 'active' | 'idle';
      /**
       * Format: date-time
       * @description When the session was admitted.
       */
      readonly started_at: string;
      /**
       * Format: date-time
       * @description When the session last received a phase.
       */
      readonly last_activity_at: string;
      /**
       * Format: date-time
       * @description When everything that the session received would have been played at normal speed.
       */
      readonly plays_until: string;
      /**
       * Format: date-time
       * @description When the session becomes idle if it sends no request: the later of last_activity_at + X and plays_until.
       */
      readonly idle_at: string;
      /**
       * Format: date-time
       * @description When its place becomes free if it sends no request: idle_at + (n-1)·X.
       */
      readonly expires_at: string;
      /** @description The phase that the session received last. */
      readonly phase: number;
      readonly device?: components['schemas']['Device'];
    };
    readonly SessionEnded: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:session-ended';
      /** @constant */
      readonly title: 'This session was ended';
      /** @constant */
      readonly code: 'session-ended';
      /**
       * Format: date-time
       * @description When the session was ended.
       */
      readonly ended_at: string;
      /**
       * @description `replaced`: another session took its place, with end_session_ids or because it is on the same device. `left`: its player quit, and may start again.
       * @enum {string}
       */
      readonly reason: 'user' | 'operator' | 'replaced' | 'left';
      readonly replaced_by?: {
        /**
         * @description One place to watch, held by one client.
         * @example living-room
         */
        readonly session_id: string;
        readonly device?: components['schemas']['Device'];
      };
    };
    readonly SessionLimitReached: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:session-limit-reached';
      /** @constant */
      readonly title: 'All places of this user are taken';
      /** @constant */
      readonly code: 'session-limit-reached';
      /** @description How many sessions the user may hold at the same time. */
      readonly limit: number;
      /** @description The sessions that hold the places. */
      readonly sessions: readonly components['schemas']['Session'][];
      /** @description In how many seconds a place becomes free if the listed sessions send no requests. */
      readonly retry_after_seconds: number;
    };
    readonly SessionList: {
      /**
       * @description The user that the limit is for.
       * @example ana
       */
      readonly user_id: string;
      /**
       * @description The user as the issuer names them; present where it is known and differs from user_id.
       * @example auth0|507f1f77bcf86cd799439011
       */
      readonly subject?: string;
      /** @description How many sessions the user may hold at the same time. */
      readonly limit: number;
      /** @description The live sessions, oldest first. */
      readonly sessions: readonly components['schemas']['Session'][];
    };
    readonly SessionNotFound: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:session-not-found';
      /** @constant */
      readonly title: 'The user holds no such session';
      /** @constant */
      readonly code: 'session-not-found';
    };
    readonly StoreUnavailable: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:store-unavailable';
      /** @constant */
      readonly title: 'Sessions cannot be checked right now';
      /** @constant */
      readonly code: 'store-unavailable';
    };
    readonly Stream: {
      /**
       * @description The id of a stream: a film or a channel.
       * @example test-pattern
       */
      readonly stream_id: string;
      /** @enum {string} */
      readonly kind: 'vod' | 'live';
      readonly duration_seconds?: number;
      /** @description X, the duration of a phase. */
      readonly phase_seconds: number;
      /** @description Phase k exists when 0 <= k < phases. Absent for a live stream, whose phases change. */
      readonly phases?: number;
    };
    readonly StreamList: {
      readonly streams: readonly components['schemas']['Stream'][];
    };
    readonly StreamNotFound: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:stream-not-found';
      /** @constant */
      readonly title: 'There is no such stream';
      /** @constant */
      readonly code: 'stream-not-found';
    };
    readonly Sweep: {
      /** @description How many expired sessions this sweep claimed. */
      readonly expired: number;
      /** @description True if more sessions are due: call again. Always true while sweeps are paused. */
      readonly more: boolean;
      /** @description How long the sweep took, in milliseconds. */
      readonly took_ms: number;
    };
    readonly Ticket: {
      /** @description A JWT that is valid only for this user, session and stream. */
      readonly ticket: string;
      /**
       * Format: uri
       * @description The URL of the playlist for this session, to be opened within minutes. It has the ticket, or another one if the ticket is not for `play`; with AUTH_MODE=none, the ids. Absent without a stream_id.
       */
      readonly playback_url?: string;
      /**
       * Format: uri
       * @description With `for: events`: the URL for EventSource, with the ticket.
       */
      readonly events_url?: string;
      /**
       * Format: date-time
       * @description Until when the ticket is accepted. A playlist that was opened before plays on; a stream of events ends then.
       */
      readonly expires_at: string;
    };
    readonly TicketRequest: {
      /**
       * @description The user that the limit is for, by id. It is required with AUTH_MODE=none. With AUTH_MODE=jwt it may be left out, since the token names the user, and it may also be the subject that the token has.
       * @example ana
       */
      readonly user_id?: string;
      /**
       * @description The stream to play. Required, except with `for: events`: a stream of events has none.
       * @example test-pattern
       */
      readonly stream_id?: string;
      /**
       * @description Absent: a new session. The server makes its id.
       * @example living-room
       */
      readonly session_id?: string;
      readonly device?: components['schemas']['Device'];
      /**
       * @description `play`, the default: opens the playlist. `cmcd`: the event target of a player, POST /v1/cmcd. `events`: the user's event stream, GET /v1/users/{user_id}/events?ticket=….
       * @enum {string}
       */
      readonly for?: 'play' | 'cmcd' | 'events';
    };
    readonly TokenUnusable: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:token-unusable';
      /** @constant */
      readonly title: 'The token names no usable user, device or plan';
      /** @constant */
      readonly code: 'token-unusable';
    };
    readonly TooFarAhead: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:too-far-ahead';
      /** @constant */
      readonly title: 'The session was handed out enough for now';
      /** @constant */
      readonly code: 'too-far-ahead';
      /** @description In how many seconds the session may request the phase again. */
      readonly retry_after_seconds: number;
    };
    readonly Unauthorized: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:unauthorized';
      /** @constant */
      readonly title: 'A token is needed';
      /** @constant */
      readonly code: 'unauthorized';
    };
    readonly UnsupportedMediaType: components['schemas']['Problem'] & {
      /** @constant */
      readonly type: 'urn:streamgate:problem:unsupported-media-type';
      /** @constant */
      readonly title: 'The request body is not JSON';
      /** @constant */
      readonly code: 'unsupported-media-type';
    };
  };
  responses: never;
  parameters: never;
  requestBodies: never;
  headers: never;
  pathItems: never;
}
export type ActivityReport = components['schemas']['ActivityReport'];
export type ActivityResult = components['schemas']['ActivityResult'];
export type AuditEntry = components['schemas']['AuditEntry'];
export type AuditTarget = components['schemas']['AuditTarget'];
export type Configuration = components['schemas']['Configuration'];
export type DeadLetter = components['schemas']['DeadLetter'];
export type DeadLetterList = components['schemas']['DeadLetterList'];
export type Device = components['schemas']['Device'];
export type Event = components['schemas']['Event'];
export type EventSession = components['schemas']['EventSession'];
export type ExpiryStatus = components['schemas']['ExpiryStatus'];
export type FieldError = components['schemas']['FieldError'];
export type Forbidden = components['schemas']['Forbidden'];
export type Health = components['schemas']['Health'];
export type InvalidRequest = components['schemas']['InvalidRequest'];
export type KeptSession = components['schemas']['KeptSession'];
export type KeysUnavailable = components['schemas']['KeysUnavailable'];
export type LogLevel = components['schemas']['LogLevel'];
export type LogLevelRequest = components['schemas']['LogLevelRequest'];
export type MalformedRequest = components['schemas']['MalformedRequest'];
export type MinimalPhaseReply = components['schemas']['MinimalPhaseReply'];
export type NotReady = components['schemas']['NotReady'];
export type NotYourSession = components['schemas']['NotYourSession'];
export type OriginUnavailable = components['schemas']['OriginUnavailable'];
export type Outbox = components['schemas']['Outbox'];
export type PauseRequest = components['schemas']['PauseRequest'];
export type PayloadTooLarge = components['schemas']['PayloadTooLarge'];
export type Phase = components['schemas']['Phase'];
export type PhaseNotFound = components['schemas']['PhaseNotFound'];
export type PhaseReply = components['schemas']['PhaseReply'];
export type PhaseRequest = components['schemas']['PhaseRequest'];
export type Problem = components['schemas']['Problem'];
export type RateLimited = components['schemas']['RateLimited'];
export type Readiness = components['schemas']['Readiness'];
export type Receiver = components['schemas']['Receiver'];
export type RefusedSession = components['schemas']['RefusedSession'];
export type Rendition = components['schemas']['Rendition'];
export type RenditionList = components['schemas']['RenditionList'];
export type Replay = components['schemas']['Replay'];
export type ReplayRequest = components['schemas']['ReplayRequest'];
export type ResumeRequest = components['schemas']['ResumeRequest'];
export type Resumption = components['schemas']['Resumption'];
export type Segment = components['schemas']['Segment'];
export type Session = components['schemas']['Session'];
export type SessionEnded = components['schemas']['SessionEnded'];
export type SessionLimitReached = components['schemas']['SessionLimitReached'];
export type SessionList = components['schemas']['SessionList'];
export type SessionNotFound = components['schemas']['SessionNotFound'];
export type StoreUnavailable = components['schemas']['StoreUnavailable'];
export type Stream = components['schemas']['Stream'];
export type StreamList = components['schemas']['StreamList'];
export type StreamNotFound = components['schemas']['StreamNotFound'];
export type Sweep = components['schemas']['Sweep'];
export type Ticket = components['schemas']['Ticket'];
export type TicketRequest = components['schemas']['TicketRequest'];
export type TokenUnusable = components['schemas']['TokenUnusable'];
export type TooFarAhead = components['schemas']['TooFarAhead'];
export type Unauthorized = components['schemas']['Unauthorized'];
export type UnsupportedMediaType = components['schemas']['UnsupportedMediaType'];
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
