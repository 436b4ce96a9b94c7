/*
 * A model of how places are taken and given back, which spin checks exhaustively (docs/proof.md).
 *
 * One user with three sessions and a limit of two, two instances of the service, two sweeps, and a primary of Redis with
 * its replica. All their steps interleave in every possible way. A transition is one atomic step. Four are scripts:
 *
 *   transition   rule (src/sessions/admission.ts)   script (src/sessions/redis/scripts/)
 *   admit        admit                              admit.lua
 *   confirm      confirm                            confirm.lua
 *   withdraw     withdraw                           withdraw.lua
 *   sweep        expire                             expire.lua
 *
 * and the others are what happens around them:
 *
 *   tick         the clock of the Redis server advances (decision 1)
 *   lag          from now on the replica receives nothing more
 *   failover     the primary is lost, and the replica becomes the primary, with what it had (decision 41)
 *   forget       an instance has settled a place, was killed, or gave up its retries
 *
 * test/contract/proof-model.spec.ts replays random runs of this model through the rule and compares the records after each
 * transition. So a change of the rule that this model does not follow fails a test.
 *
 * Not in the model, with the reason:
 *   end               it only frees places
 *   keepAlive         it moves the activity of a confirmed session, as a renewal does; a reservation is not undone after
 *                     it, as if the instance were killed before the undo
 *   noteActivity      the same
 *   graceAfterOutage  it only delays sweeps, and no admission depends on a sweep
 * nor are phases, streams, devices, and the undo of a renewal, which only moves the activity back (decision 3).
 *
 * Time counts in ticks. A session is expired TTL ticks after its last activity, a reservation lapses after LEASE ticks.
 * Ages stop at MOST, so that there are finitely many states.
 *
 * Macros that select what is checked:
 *   FAILOVERS=n              at most n failovers; without it, none
 *   REPLICATED               ADMIT_DURABILITY=replicated
 *   SILENCE                  at some time nobody asks any more; for the property `ends`
 *   EXACT, MOST=n            of equally old sessions the first one is claimed, as by the rule, and ages count up to n.
 *                            Without them, any of the oldest may be claimed, because of ages from MOST on the order is lost
 * Macros that plant a fault, which must be found:
 *   ADMIT_CLAIMS_NOTHING, WITHDRAW_IGNORES_VERSION, SWEEP_IN_TWO_STEPS, RESERVATIONS_NEVER_LAPSE, WAIT_BY_ANOTHER_SERVER
 */
#define SESSIONS 3
#define INSTANCES 2
#define LIMIT 2
#define LEASE 1
#define TTL 2
#ifndef MOST
#define MOST TTL
#endif
#ifndef FAILOVERS
#define FAILOVERS 0
#endif

/* The status of a record. */
#define NONE 0
#define RESERVED 1
#define PERMANENT 2

/* What a request did to its session, if that must be settled: it began the session; it continued a reservation; or it
   readmitted a session that had expired and was not claimed. A renewal of a confirmed session leaves nothing to settle. */
#define NOTHING 0
#define BEGUN 1
#define RESUMED 2
#define READMITTED 3

/* The records of the user on one server. `age`: ticks since the last activity. */
typedef Store {
  byte status[SESSIONS];
  byte age[SESSIONS];
  /* Whether the record is of the life, and of the version, that the place of this instance names. In the code these are
     numbers, which grow without a bound. */
  bit life[INSTANCES];
  bit version[INSTANCES]
}
Store primary;
/* What a failover brings back. It is kept only while it differs: until `lags`, the replica has all that the primary has. */
Store replica;
bit lags;
/* Whether both have the same life of a session. */
bit same[SESSIONS];
byte failovers;

/* The place that an instance has taken and not settled. `age`: ticks since the admission. */
typedef Place {
  byte kind;
  byte session;
  byte age;
  /* The age of a session that continued or was readmitted, had this request not come. */
  byte former;
  /* Whether the replica has the latest write about it. */
  bit replicated
}
Place place[INSTANCES];

/* What clients know. A reply that began a session promises its place for a lease. When the place is confirmed, the reply
   promises it until TTL. The values are the ticks that are left of the promise. */
byte replied[SESSIONS];
byte confirmed[SESSIONS];
/* A confirmed session whose end was not reported yet. */
bit owed[SESSIONS];

/* From now on no client asks for anything. */
bit quiet;

#define PLACE_OF(k, one) (place[k].kind != NOTHING && place[k].session == one)
#define IS_DUE(one) ((primary.status[one] == RESERVED && primary.age[one] >= LEASE) || (primary.status[one] == PERMANENT && primary.age[one] >= TTL))
#define HOLDS(one) (primary.status[one] != NONE && !IS_DUE(one))
#define IS_PROMISED(one) (replied[one] > 0 || confirmed[one] > 0)
#define IS_KEPT(one) (!IS_PROMISED(one) || HOLDS(one))
#define IS_OVER(one) (primary.status[one] == NONE && !owed[one])

/* For the test that replays a run through the rule. */
#define SHOW printf("STATE %d %d %d %d %d %d\n", primary.status[0], primary.age[0], primary.status[1], primary.age[1], primary.status[2], primary.age[2])

/* Never more than `limit` places are held, by the store or by what clients were told. */
ltl limit {
  [] (HOLDS(0) + HOLDS(1) + HOLDS(2) <= LIMIT && IS_PROMISED(0) + IS_PROMISED(1) + IS_PROMISED(2) <= LIMIT)
}

/* Nobody loses a place that a reply promised. */
ltl kept { [] (IS_KEPT(0) && IS_KEPT(1) && IS_KEPT(2)) }

/* Both. */
ltl safe {
  [] (HOLDS(0) + HOLDS(1) + HOLDS(2) <= LIMIT && IS_PROMISED(0) + IS_PROMISED(1) + IS_PROMISED(2) <= LIMIT &&
      IS_KEPT(0) && IS_KEPT(1) && IS_KEPT(2))
}

/* When nobody asks any more, each session ends, each confirmed one is reported, and each place is settled. */
ltl ends {
  [] (quiet -> <> (IS_OVER(0) && IS_OVER(1) && IS_OVER(2) && place[0].kind == NOTHING && place[1].kind == NOTHING))
}

/* The record of a session goes. */
inline remove(gone) {
  primary.status[gone] = NONE;
  primary.age[gone] = 0;
  same[gone] = 0;
  for (k : 0 .. INSTANCES - 1) {
    if
    :: PLACE_OF(k, gone) -> primary.life[k] = 0; primary.version[k] = 0
    :: else
    fi
  }
}

/* A due record is reported as expired, or undone if it is a reservation. The report and the removal are one step: without
   a failover, which can bring a session back, each session is reported exactly once. */
inline claim(due) {
  if
  :: primary.status[due] == PERMANENT ->
#if FAILOVERS == 0 && !defined(REPLICATED)
    assert(owed[due]);
#endif
    owed[due] = 0
  :: else
  fi;
  remove(due)
}

/* Claims one of the overdue sessions other than `own`: the one with the oldest activity, of equal ones the first. */
inline claimOldest(own) {
  oldest = SESSIONS;
  for (o : 0 .. SESSIONS - 1) {
    if
    :: o == own || !IS_DUE(o)
    :: else ->
      if
      :: oldest == SESSIONS -> oldest = o
      :: oldest != SESSIONS && primary.age[o] > primary.age[oldest] -> oldest = o
      :: oldest != SESSIONS && primary.age[o] <= primary.age[oldest] -> skip
#ifndef EXACT
      :: oldest != SESSIONS && primary.age[o] == primary.age[oldest] -> oldest = o
#endif
      fi
    fi
  }
  claim(oldest)
}

/* Transition. The instance asks for a phase of a session. */
inline admit(at, asked) {
  for (o : 0 .. SESSIONS - 1) {
    if
    :: o != asked && IS_DUE(o) -> overdue++
    :: o != asked && HOLDS(o) -> holders++
    :: else
    fi
  }
  if
  :: !HOLDS(asked) && holders >= LIMIT -> printf("TRACE admit %d %d refused\n", at, asked)
  :: else ->
    kind = (HOLDS(asked) -> (primary.status[asked] == RESERVED -> RESUMED : NOTHING) : (primary.status[asked] == PERMANENT -> READMITTED : BEGUN));
    /* A reservation that has lapsed never started: it is undone. */
    if
    :: kind == BEGUN && primary.status[asked] == RESERVED -> claim(asked)
    :: else
    fi;
#ifndef ADMIT_CLAIMS_NOTHING
    /* At most `limit` records stay that hold a place or can resume one: late confirmations do not exceed the limit. */
    do
    :: overdue > 0 && holders + overdue + 1 > LIMIT -> claimOldest(asked); overdue--
    :: else -> break
    od;
#endif
    if
    :: kind == BEGUN -> primary.status[asked] = RESERVED
    :: else
    fi;
    former = (kind == READMITTED || kind == RESUMED -> primary.age[asked] : 0);
    primary.age[asked] = 0;
    for (k : 0 .. INSTANCES - 1) {
      if
      :: PLACE_OF(k, asked) -> primary.version[k] = 0
      :: else
      fi
    }
    printf("TRACE admit %d %d kind%d\n", at, asked, kind);
    if
    :: kind == NOTHING ->
      /* A renewal is not awaited: a failover may lose it, so that its reply promises nothing new then. */
      if
      :: FAILOVERS == 0 -> confirmed[asked] = TTL
      :: else
      fi
    :: else ->
      place[at].kind = kind;
      place[at].session = asked;
      place[at].former = former;
      place[at].replicated = !lags;
      primary.life[at] = 1;
      primary.version[at] = 1;
      replica.life[at] = (lags && kind != BEGUN -> same[asked] : 0)
    fi
  fi;
  SHOW;
  holders = 0;
  overdue = 0;
  oldest = 0;
  kind = 0;
  former = 0;
  o = 0;
  k = 0
}

/* Transition. The first phase was delivered: the session becomes permanent, unless it has lost its place since. */
inline confirm(at) {
  printf("TRACE confirm %d %d\n", at, place[at].session);
  if
  :: primary.life[at] && primary.status[place[at].session] == RESERVED -> primary.status[place[at].session] = PERMANENT
  :: else
  fi;
  place[at].replicated = !lags;
  SHOW
}

/* Transition. The phase was not delivered: the admission is undone, unless the session has changed since. */
inline withdraw(at) {
  printf("TRACE withdraw %d %d\n", at, place[at].session);
  if
#ifdef WITHDRAW_IGNORES_VERSION
  :: !primary.life[at]
#else
  :: !primary.version[at]
#endif
  :: else ->
    if
    :: place[at].kind == BEGUN && primary.status[place[at].session] == RESERVED -> remove(place[at].session)
    :: place[at].kind == READMITTED -> primary.age[place[at].session] = place[at].former
    :: place[at].kind == RESUMED -> primary.age[place[at].session] = place[at].former
    :: else
    fi
  fi;
  SHOW;
  k = 0
}

/* Transition. */
inline forget(at) {
  printf("TRACE forget %d\n", at);
  place[at].kind = NOTHING;
  place[at].session = 0;
  place[at].age = 0;
  place[at].former = 0;
  place[at].replicated = 0;
  primary.life[at] = 0;
  primary.version[at] = 0;
  replica.life[at] = 0;
  replica.version[at] = 0
}

/* The client has the whole reply. */
inline deliver(at) {
  if
  :: place[at].kind == READMITTED -> confirmed[place[at].session] = TTL - place[at].age
  :: else -> replied[place[at].session] = (place[at].age < LEASE -> LEASE - place[at].age : 0)
  fi
}

/* The confirmation was answered. */
inline acknowledge(at) {
  if
  :: primary.life[at] && primary.status[place[at].session] == PERMANENT ->
    owed[place[at].session] = 1;
    confirmed[place[at].session] = TTL - place[at].age
  :: else
  fi
}

#ifdef REPLICATED
#define IS_ANSWERED(at) place[at].replicated
#else
#define IS_ANSWERED(at) true
#endif

active [INSTANCES] proctype Instance() {
  byte holders, overdue, oldest, kind, former, o, k;
idle:
  atomic {
    !quiet;
    if
    :: admit(_pid, 0)
    :: admit(_pid, 1)
    :: admit(_pid, 2)
    fi;
    if
    :: place[_pid].kind == NOTHING -> goto idle
    :: else
    fi
  }
  if
  /* The client gets the reply only after the WAIT was answered. */
  :: atomic { IS_ANSWERED(_pid) -> deliver(_pid);
      if
      :: place[_pid].kind == READMITTED -> forget(_pid); goto idle
      :: else
      fi
    }
  /* The connection broke, or no replica answered in time. */
  :: atomic { withdraw(_pid); forget(_pid); goto idle }
  :: atomic { forget(_pid); goto idle }
  fi;
  do
  :: atomic { confirm(_pid);
      if
      :: IS_ANSWERED(_pid) -> acknowledge(_pid); forget(_pid); goto idle
      :: else
      fi
    }
  :: atomic { forget(_pid); goto idle }
  od
}

#ifdef RESERVATIONS_NEVER_LAPSE
#define IS_SWEPT(one) (IS_DUE(one) && primary.status[one] == PERMANENT)
#else
#define IS_SWEPT(one) IS_DUE(one)
#endif

/* Two sweeps. Since each is one step, one process stands for both. */
#ifdef SWEEP_IN_TWO_STEPS
active [2] proctype Sweep() {
  byte k;
  do
  :: IS_DUE(0) -> atomic { claim(0); k = 0 }
  :: IS_DUE(1) -> atomic { claim(1); k = 0 }
  :: IS_DUE(2) -> atomic { claim(2); k = 0 }
  od
}
#else
/* Transition. */
active proctype Sweep() {
  byte k, s;
  do
  :: atomic {
      IS_SWEPT(0) || IS_SWEPT(1) || IS_SWEPT(2) ->
      printf("TRACE sweep\n");
      for (s : 0 .. SESSIONS - 1) {
        if
        :: IS_SWEPT(s) -> claim(s)
        :: else
        fi
      }
      SHOW;
      s = 0;
      k = 0
    }
  od
}
#endif

/* Transition. Time passes, for both servers and for all clients. */
active proctype Clock() {
  byte n;
  do
  :: d_step {
      printf("TRACE tick\n");
      for (n : 0 .. SESSIONS - 1) {
        if
        :: primary.status[n] != NONE && primary.age[n] < MOST -> primary.age[n]++
        :: else
        fi;
        if
        :: replica.status[n] != NONE && replica.age[n] < MOST -> replica.age[n]++
        :: else
        fi;
        replied[n] = (replied[n] > 0 -> replied[n] - 1 : 0);
        confirmed[n] = (confirmed[n] > 0 -> confirmed[n] - 1 : 0)
      }
      for (n : 0 .. INSTANCES - 1) {
        if
        :: place[n].kind != NOTHING && place[n].age < TTL -> place[n].age++
        :: else
        fi;
        if
        :: (place[n].kind == READMITTED || place[n].kind == RESUMED) && place[n].former < MOST -> place[n].former++
        :: else
        fi
      }
      SHOW;
      n = 0
    }
  od
}

#ifdef SILENCE
/* At some time nobody asks any more. */
active proctype Silence() {
  quiet = 1
}
#endif

#if FAILOVERS > 0
inline copy(from, to) {
  for (n : 0 .. SESSIONS - 1) {
    to.status[n] = from.status[n];
    to.age[n] = from.age[n]
  }
  for (n : 0 .. INSTANCES - 1) {
    to.life[n] = from.life[n];
    to.version[n] = from.version[n]
  }
}

/*
 * Transitions. A replica receives the writes in their order. So after a failover the primary has some earlier state, and it
 * does not matter when the replica received what it has. Until `lag` it receives each write at once, and each WAIT is
 * answered (an instance may still time out); from then on nothing more arrives until the failover.
 */
active proctype Replica() {
  byte n;
  do
  :: d_step {
      !lags && failovers < FAILOVERS ->
      printf("TRACE lag\n");
      lags = 1;
      copy(primary, replica);
      for (n : 0 .. SESSIONS - 1) { same[n] = (primary.status[n] != NONE) }
      n = 0
    }
  :: d_step {
      lags ->
      printf("TRACE failover\n");
      lags = 0;
      failovers++;
      copy(replica, primary);
      for (n : 0 .. SESSIONS - 1) {
        same[n] = 0;
        replica.status[n] = NONE;
        replica.age[n] = 0
      }
      for (n : 0 .. INSTANCES - 1) {
        replica.life[n] = 0;
        replica.version[n] = 0;
#ifdef WAIT_BY_ANOTHER_SERVER
        /* The new primary answers the WAIT for a write that it does not have. */
        place[n].replicated = (place[n].kind != NOTHING)
#endif
      }
      n = 0
    }
  od
}
#endif
