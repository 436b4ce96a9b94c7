/** The rights that the ACL user of this service needs, as ACL SETUSER takes them, without name and password. */
export const RIGHTS =
  'resetkeys ~sg:* resetchannels &sg:* +@hash +@sortedset +@stream +get +set +incrby +exists +wait +time +eval +evalsha +publish +subscribe ' +
  '+unsubscribe +spublish +ssubscribe +sunsubscribe +cluster|slots +ping +select +client|setname +info';

/** The cause of an error of Redis that lasts until an operator fixes it. */
export interface Fault {
  readonly name: string;
  /** What is wrong, and how to fix it. */
  readonly advice: string;
}

/** The faults by the start of the error message. For a missing right within a script, Redis 7.0 has no error code. */
const FAULTS: readonly (readonly [error: RegExp, Fault])[] = [
  [
    /^WRONGPASS/,
    {
      name: 'WRONGPASS',
      advice:
        'the user or the password is wrong, or the user is off: correct REDIS_USERNAME and REDIS_PASSWORD, or REDIS_URL',
    },
  ],
  [
    /^NOAUTH/,
    {
      name: 'NOAUTH',
      advice: 'Redis wants a password and got none: set REDIS_PASSWORD, and REDIS_USERNAME for an ACL user',
    },
  ],
  [
    /^NOPERM|The user executing the script/,
    {
      name: 'NOPERM',
      advice: `the ACL user lacks a right that requests need: run ACL SETUSER with its name and: on ${RIGHTS}`,
    },
  ],
  [
    /^ERR (DB index|invalid DB index)/,
    {
      name: 'DATABASE',
      advice:
        'Redis has no database of the number in REDIS_URL: name another one, or raise its setting databases',
    },
  ],
  [
    /^READONLY/,
    {
      name: 'READONLY',
      advice: 'this server is a replica: REDIS_URL must name the primary, not a reader endpoint',
    },
  ],
  [
    /^OOM/,
    {
      name: 'OOM',
      advice:
        'Redis is full: raise maxmemory, or remove what else it holds. Running sessions go on; new ones get 503 until then',
    },
  ],
  [
    /^(MOVED|ASK|CROSSSLOT)/,
    {
      name: 'MOVED',
      advice: 'this server is one of several of a cluster: set REDIS_CLUSTER=true',
    },
  ],
  [
    /^CLUSTERDOWN/,
    {
      name: 'CLUSTERDOWN',
      advice: 'a node of the cluster is missing, or slots have no node: see CLUSTER INFO and CLUSTER SHARDS',
    },
  ],
  [
    /^MISCONF/,
    { name: 'MISCONF', advice: 'Redis cannot save its data and takes no writes: see its log and its disk' },
  ],
  [
    /^NOREPLICAS/,
    { name: 'NOREPLICAS', advice: 'Redis has fewer replicas than min-replicas-to-write and takes no writes' },
  ],
  [
    /^NOTREPLICATED/,
    {
      name: 'NOTREPLICATED',
      advice:
        'with ADMIT_DURABILITY=replicated new sessions get 503 while no replica follows: see INFO replication of the primary. ' +
        'Running sessions go on',
    },
  ],
];

export function faultOf(message: string): Fault | undefined {
  return FAULTS.find(([error]) => error.test(message))?.[1];
}
