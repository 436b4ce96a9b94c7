const ID = { type: 'string', pattern: '^[A-Za-z0-9._~:@-]{1,64}$' };

/** The schema of the request body, as one would write it without documentation in mind. */
export const PHASE_REQUEST = {
  type: 'object',
  additionalProperties: false,
  required: ['user_id', 'stream_id'],
  properties: {
    user_id: ID,
    stream_id: ID,
    session_id: ID,
    phase: { type: 'integer', minimum: 0, maximum: 2_147_483_647 },
    end_session_ids: { type: 'array', maxItems: 100, items: ID },
  },
};

export interface PhaseRequest {
  user_id: string;
  stream_id: string;
  session_id?: string;
  phase?: number;
  end_session_ids?: string[];
}
