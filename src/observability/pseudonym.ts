import { createHmac } from 'node:crypto';
import { type Config } from '../config/config.js';

/** 96 bits: two of a billion users have the same pseudonym with a probability of 1 in 10^11. */
const LENGTH = 16;

/**
 * Gives the user of a line in the log, as LOG_USER_IDS says. The pseudonym is the beginning of HMAC-SHA-256 of the id, in
 * base64url: the same on every instance that has the same key. README has the command that computes it.
 */
export function userNaming({
  LOG_USER_IDS,
  LOG_USER_IDS_SECRET,
}: Pick<Config, 'LOG_USER_IDS' | 'LOG_USER_IDS_SECRET'>): (userId: string) => string | undefined {
  switch (LOG_USER_IDS) {
    case 'plain':
      return (userId) => userId;
    case 'none':
      return () => undefined;
    case 'hash':
      return (userId) =>
        createHmac('sha256', LOG_USER_IDS_SECRET).update(userId).digest('base64url').slice(0, LENGTH);
  }
}
