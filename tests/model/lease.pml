/* Leases under the robust lock of a consumer: members.c, and take_next(), take_new(), take_again() of get.c.
 *
 * Members join, take, ack, release and leave; any of them may die in front of any store, with the lock or without it.
 * Who lives on mends, and takes back what the dead have held. A change to one of these functions is a change to this model:
 *
 *   here             in the code
 *   lock_consumer    lqi_consumer_lock(): who inherits marks the state broken and makes the lock consistent, then mends
 *   mend             lqi_consumer_mend(): delivered up to the floor, the floor over settled messages, the counts, the hint
 *   advance_floor    advance_floor(): loads, and one store
 *   give_back        give_back()
 *   take_back, bury  take_back(), bury_the_dead(): first what the dead member holds, then its place
 *   join             lqi_member_join(), into the place of one who has died or left; to leave is take_back() of one's own, and
 *                    lqi_member_abandon(), without the lock, is a death
 *   lease            lease(): token, member, attempt, state, count
 *   lease_next       lqi_lease_next(): the slot, in two stores, and lease(); then `delivered`
 *   lease_returned   lqi_lease_returned()
 *   skip_to          lqi_skip_to(): over a hole
 *   settle           lqi_settle(): DROP is ACK here
 *   take_next        take_next() and open_record(): one message in a record, a hole stepped over; `next` is next_position
 *   take_new         take_new() with lqi_reap(); MAY_TAKE is lqi_may_take(), REAPS when lqi_reap() finds somebody
 *
 * Bells are left out (wake.pml is about them), and so is what is written to the offset file. Who finds nothing sleeps until
 * there is something to find; the bound of that sleep finds a dead owner of the lock, and dead members.
 *
 * `holder`, `given`, `acked` and `tries` are no part of the code: who was handed a message and has not settled it, with which
 * token, what was acked in the step that acked it, and hand-outs that counted less releases that began.
 *
 * Properties:
 *   - No message is lost: the floor passes only what was acked (or is a hole); what is above it is acked, waits, is held by a
 *     living member, or by a dead one who will be found. In the end all of it is acked (no invalid end state).
 *   - None is handed to a member while a living one holds it; none that was acked is handed out again.
 *   - Whenever the lock is free: floor <= delivered <= floor + window, no slot's attempts below `tries`, and
 *     the counts, the hint and the number of members are right.
 *   - Who holds a message can settle it. Nobody else can: a stale token changes nothing.
 *
 * What tests/model/run asks spin, and what spin must answer:
 *   holds  -DDEATHS=0 -DRELEASES=2   nobody dies
 *   holds  -DDEATHS=1                      one death, wherever
 *   holds  -DDEATHS=1 -DMESSAGES=4 -DSTALES=0   with more to hand out
 *   holds  -DDEATHS=2 -DMEMBERS=3 -DRELEASES=0 -DSTALES=0   two deaths, one in the middle of mending what the other has left
 *   holds  -DDEATHS=2 -DMEMBERS=3 -DMESSAGES=2 -DSTALES=0   with a release
 *   holds  -DDEATHS=2 -DMEMBERS=3 -DMESSAGES=4 -DHOLE=3 -DSTALES=0   with a hole to be stepped over
 *   holds  -DDEATHS=1 -DHOLE=2             with one that takes the last place of the window
 *   holds  -DDEATHS=1 -DLEAVES=1 -DSTALES=0   with a member who leaves
 *   fails  -DDELIVERED_FIRST               counts a message as handed out before its slot is written
 *   fails  -DLEASED_FIRST                  says that it is leased before it says to whom
 *   fails  -DATTEMPT_LATE                  counts the attempt after the hand-out
 *   fails  -DNEXT_FIRST                    moves on in the log before the message is handed out
 *   fails  -DNO_MEND                       inherits the lock without mending
 *   fails  -DMEND_NO_COUNTS                mends, but leaves the counts
 *   fails  -DMEND_NO_HINT                  mends, but leaves the hint
 *   fails  -DNO_TOKEN                      settles without looking at the token
 *   fails  -DNOT_TAKEN_BACK                buries a dead member with what it holds
 *   fails  -DMEMBERS=3 -DDEATHS=2 -DPLACE_FIRST   frees the place before it has taken back what was held
 *   fails  -DBURY_LIVING                   takes a living member for dead
 *   fails  -DFLOOR_OVER_LEASED             moves the floor over what is leased
 *   fails  -DWINDOW_IGNORED                hands out into slots that are in use
 *   fails  -DMESSAGES=4 -DHOLE=3 -DSKIP_DELIVERED_FIRST   steps over a hole with `delivered` ahead of the floor
 *   fails  -DHOLE=2 -DNO_SECOND_WINDOW   forgets that a hole has taken places of the window
 */
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef MEMBERS
#define MEMBERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 3 /* ids from 1 on; at most 4 */
#endif
#ifndef RELEASES
#define RELEASES 1
#endif
#ifndef STALES
#define STALES 1 /* tokens that are remembered longer than they are good */
#endif
#ifndef LEAVES
#define LEAVES 0
#endif
#define PLACES 2 /* more members wait for one */
#define WINDOW 2

#ifdef HOLE
#define HOLE_FIRST  2 /* up to HOLE */
#define HOLE_LAST   HOLE
#define IN_HOLE(id) ((id) >= HOLE_FIRST && (id) <= HOLE_LAST)
#else
#define HOLE_LAST   0
#define IN_HOLE(id) false
#endif

#define FREE 0 /* of the lock; else 1 + its owner */
#define DEAD 100

#define READY     0 /* of a slot */
#define LEASED    1
#define SETTLED   2

#define ACK       0
#define GIVE_BACK 1
#define UNDO      2

typedef slot { byte position, token, member, state, attempts };

byte lock;
bool broken;
slot slots[WINDOW];
byte place[PLACES];  /* 1 + the handle that has it */
byte floor, delivered, next = 1;
byte unacked, returned, hint, member_count, last_lease;

bool alive[MEMBERS];
byte holder[5], given[5], tries[5];
bool acked[5];
byte deaths = DEATHS, releases = RELEASES, leaves = LEAVES, stales = STALES;
hidden byte n, leased, ready, taken; /* of single steps */

/* One step of a process, or its death in front of it. */
#define STEP(what) if :: d_step { what } :: atomic { deaths > 0 -> deaths--; goto died } fi

#define SLOT(id)    slots[(id) % WINDOW]
#define MAX(a, b)   (a > b -> a : b)
#define MIN(a, b)   (a < b -> a : b)
#define FULL        (delivered - floor >= WINDOW)
#define IS_DEAD(i)  (place[i] != 0 && !alive[MAX(place[i], 1) - 1])
#define ANY_DEAD    (IS_DEAD(0) || IS_DEAD(PLACES - 1))
#define REAPS       (unacked > 0 && member_count >= 2 && ANY_DEAD)
#define MAY_TAKE    (returned > 0 || (next <= MESSAGES && delivered >= floor && !FULL))
#define HOLDS(id)   (holder[id] == 1 + me)
#define HOLDS_ANY   (HOLDS(1) || HOLDS(2) || HOLDS(3) || HOLDS(4))

inline count() {
    leased = 0;
    ready = 0;
    taken = 0;
    n = floor + 1;
    do
    :: n <= delivered ->
        if
        :: SLOT(n).state == LEASED -> leased++
        :: SLOT(n).state == READY -> ready++
        :: else
        fi;
        n++
    :: else -> break
    od;
    n = 0;
    do
    :: n < PLACES ->
        if :: place[n] != 0 -> taken++ :: else fi;
        n++
    :: else -> break
    od
}

/* What holds whenever the lock is free. */
inline check() {
    assert(floor <= delivered && delivered <= floor + WINDOW);
    assert(next <= delivered + 1);
    n = 1;
    do
    :: n <= MESSAGES ->
        if
        :: n <= floor -> assert((acked[n] || IN_HOLE(n)) && holder[n] == 0)
        :: n > delivered -> assert(!acked[n] && holder[n] == 0)
        :: else ->
            assert((SLOT(n).state == SETTLED) == (acked[n] || IN_HOLE(n)));
            assert(SLOT(n).position == n || IN_HOLE(n));
            assert(SLOT(n).attempts >= tries[n]);
            if
            :: SLOT(n).state == LEASED ->
                assert(place[SLOT(n).member] != 0);
                assert(IS_DEAD(SLOT(n).member) || holder[n] == place[SLOT(n).member])
            :: SLOT(n).state == READY -> assert(holder[n] == 0 && n >= hint)
            :: else -> assert(holder[n] == 0)
            fi
        fi;
        n++
    :: else -> break
    od;
    count();
    assert(unacked == leased && returned == ready && member_count == taken)
}

inline advance_floor() {
    STEP(
        n = floor;
        do
#ifdef FLOOR_OVER_LEASED
        :: n < delivered && SLOT(n + 1).state != READY -> n++
#else
        :: n < delivered && SLOT(n + 1).state == SETTLED -> n++
#endif
        :: else -> break
        od;
        floor = n
    )
}

inline mend() {
    if :: delivered < floor -> STEP(delivered = floor) :: else fi;
    advance_floor();
#ifndef MEND_NO_COUNTS
    STEP(count(); unacked = leased);
    STEP(count(); returned = ready);
#endif
#ifndef MEND_NO_HINT
    STEP(hint = floor + 1);
#endif
    STEP(count(); member_count = taken)
}

inline lock_consumer() {
    if
    :: d_step { lock == FREE -> lock = 1 + me }
    :: d_step { lock == DEAD -> lock = 1 + me; inherited = true }
    fi;
    if
    :: inherited ->
#ifndef NO_MEND
        STEP(broken = true);
#endif
        STEP(inherited = false)
    :: else
    fi;
    assert(delivered <= floor || delivered - floor <= WINDOW);
    if
    :: broken ->
        mend();
        STEP(broken = false)
    :: else
    fi
}

inline unlock_consumer() {
    STEP(check(); lock = FREE)
}

inline give_back(id) {
    STEP(assert(holder[id] == 0 || HOLDS(id)); SLOT(id).state = READY; holder[id] = 0; given[id] = 0);
    STEP(hint = MIN(hint, id));
    STEP(returned++);
    STEP(unacked--)
}

inline take_back(index) {
#ifdef PLACE_FIRST
    STEP(place[index] = 0);
#endif
#ifndef NOT_TAKEN_BACK
    at = floor + 1;
    do
    :: atomic {
        do
        :: at <= delivered && !(SLOT(at).state == LEASED && SLOT(at).member == index) -> at++
        :: else -> break
        od
       };
       if
       :: at <= delivered -> give_back(at)
       :: else -> break
       fi
    od;
#endif
#ifndef PLACE_FIRST
    STEP(place[index] = 0);
#endif
    if :: member_count > 0 -> STEP(member_count--) :: else fi
}

inline bury() {
    i = 0;
    do
    :: atomic {
        do
#ifdef BURY_LIVING
        :: i < PLACES && (place[i] == 0 || place[i] == 1 + me) -> i++
#else
        :: i < PLACES && !IS_DEAD(i) -> i++
#endif
        :: else -> break
        od
       };
       if
       :: i < PLACES -> take_back(i)
       :: else -> break
       fi
    od;
    atomic { i = 0; at = 0 }
}

inline join() {
    bury();
    atomic { do :: place[my] != 0 -> my++ :: else -> break od };
    STEP(place[my] = 1 + me);
    STEP(member_count++)
}

inline lease(id) {
    STEP(last_lease++);
    STEP(SLOT(id).token = last_lease);
#ifndef LEASED_FIRST
    STEP(SLOT(id).member = my);
#endif
#ifndef ATTEMPT_LATE
    STEP(SLOT(id).attempts++);
#endif
    STEP(SLOT(id).state = LEASED; if :: delivered >= id -> tries[id]++ :: else fi);
#ifdef LEASED_FIRST
    STEP(SLOT(id).member = my);
#endif
    STEP(unacked++)
}

/* The message is the caller's. */
inline hand_out(id) {
    d_step {
        assert(!acked[id] && holder[id] == 0 && !IN_HOLE(id));
        holder[id] = 1 + me;
        given[id] = SLOT(id).token
    }
}

inline lease_next() {
    id = delivered + 1;
#ifdef DELIVERED_FIRST
    STEP(delivered = id);
#endif
    STEP(SLOT(id).position = id);
    STEP(SLOT(id).token = 0; SLOT(id).member = 0; SLOT(id).state = READY; SLOT(id).attempts = 0);
    lease(id);
#ifndef DELIVERED_FIRST
    STEP(delivered = id; tries[id]++);
#endif
#ifdef ATTEMPT_LATE
    STEP(SLOT(id).attempts++);
#endif
    hand_out(id)
}

inline lease_returned() {
    d_step {
        id = MAX(hint, floor + 1);
        do
        :: id <= delivered && SLOT(id).state != READY -> id++
        :: else -> break
        od
    };
    if
    :: id > delivered -> STEP(returned = 0)
    :: else ->
        STEP(hint = id + 1);
        lease(id);
#ifdef ATTEMPT_LATE
        STEP(SLOT(id).attempts++);
#endif
        STEP(returned--);
        hand_out(id)
    fi
}

/* Leaves delivered below `last` if the window does not reach so far. */
inline skip_to(last) {
    if
    :: floor == delivered ->
#ifdef SKIP_DELIVERED_FIRST
        STEP(delivered = last);
        STEP(floor = last)
#else
        STEP(floor = last);
        STEP(delivered = last)
#endif
    :: else ->
        id = delivered;
        do
        :: id < last && id - floor < WINDOW ->
            id++;
            STEP(SLOT(id).position = 0);
            STEP(SLOT(id).token = 0; SLOT(id).member = 0; SLOT(id).state = SETTLED; SLOT(id).attempts = 0);
            STEP(delivered = id)
        :: else -> break
        od
    fi
}

inline settle(id, token, how) {
    if
    :: id > delivered || delivered - id >= WINDOW -> assert(!HOLDS(id))
#ifdef NO_TOKEN
    :: else ->
        if
#else
    :: else ->
        if
        :: SLOT(id).token != token || SLOT(id).member != my -> assert(!HOLDS(id) || given[id] != token)
        :: else ->
            if
#endif
            :: SLOT(id).state == SETTLED && how == ACK -> assert(acked[id])
            :: SLOT(id).state != LEASED && !(SLOT(id).state == SETTLED && how == ACK) -> assert(!HOLDS(id))
            :: SLOT(id).state == LEASED ->
                assert(HOLDS(id) && given[id] == token);
                if
                :: how == ACK ->
                    STEP(SLOT(id).state = SETTLED; acked[id] = true; holder[id] = 0; given[id] = 0; tries[id] = 0);
                    STEP(unacked--);
                    if :: id == floor + 1 -> advance_floor() :: else fi
                :: else ->
                    if
                    :: how == UNDO && SLOT(id).attempts > 0 -> STEP(SLOT(id).attempts--; tries[id]--)
                    :: else
                    fi;
                    give_back(id)
                fi
            fi
#ifndef NO_TOKEN
        fi
#endif
    fi
}

inline take_next() {
    do
#ifndef WINDOW_IGNORED
    :: FULL -> break
#endif
    :: else ->
        if
        :: IN_HOLE(delivered + 1) ->
            skip_to(HOLE_LAST);
            if
            :: delivered < HOLE_LAST -> break
            :: else -> STEP(next = HOLE_LAST + 1)
            fi
        :: else
        fi;
        if
        :: delivered == MESSAGES -> /* the log ends here */
            STEP(next = MESSAGES + 1);
            break
#if !defined(WINDOW_IGNORED) && !defined(NO_SECOND_WINDOW)
        :: delivered < MESSAGES && FULL -> break
        :: delivered < MESSAGES && !FULL ->
#else
        :: delivered < MESSAGES ->
#endif
#ifdef NEXT_FIRST
            STEP(next = delivered + 2);
            lease_next();
#else
            lease_next();
            STEP(next = id + 1);
#endif
            if
            :: true       /* a batch */
            :: true -> break
            fi
        fi
    od
}

inline take_new() {
    if
    :: unacked > 0 && member_count >= 2 -> bury()
    :: true /* somebody has looked just now */
    fi;
    if
    :: returned > 0 /* those come first */
    :: else -> take_next()
    fi
}

/* A message that is held, or was; and whose token is remembered, perhaps. */
inline settle_one() {
    if
    :: d_step { HOLDS(1) -> id = 1; token = given[id] }
    :: d_step { HOLDS(2) -> id = 2; token = given[id] }
    :: d_step { HOLDS(3) -> id = 3; token = given[id] }
    :: d_step { HOLDS(4) -> id = 4; token = given[id] }
    :: d_step { stale_id != 0 -> id = stale_id; token = stale_token; stale_id = 0; stale_token = 0 }
    fi;
    if
    :: how = ACK
    :: d_step { releases > 0 -> releases--; how = GIVE_BACK }
    :: d_step { releases > 0 -> releases--; how = UNDO }
    fi;
    settle(id, token, how);
    if
    :: d_step { stales > 0 -> stales--; stale_id = id; stale_token = token }
    :: true
    fi
}

proctype taker(byte me) {
    byte my = me, id, token, how, at, i, stale_id, stale_token;
    bool inherited;
    if
    :: me < PLACES
    :: else ->
end_no_place:
        lock == DEAD || place[0] == 0 || place[PLACES - 1] == 0 || ANY_DEAD;
        my = 0;
        lock_consumer();
        join();
        unlock_consumer()
    fi;
    do
    :: floor >= MESSAGES -> break
    :: stale_id != 0 -> stale_id = 0; stale_token = 0
    :: floor < MESSAGES && (lock == DEAD || REAPS || MAY_TAKE || HOLDS_ANY || stale_id != 0) ->
        lock_consumer();
        if
        :: HOLDS_ANY || stale_id != 0 -> settle_one()
        :: returned > 0 -> lease_returned()
        :: true -> take_new()
        fi;
        unlock_consumer();
        atomic { id = 0; token = 0; how = 0 }
    :: leaves > 0 ->
        leaves--;
        lock_consumer();
        take_back(my);
        unlock_consumer();
        break
    od;
    goto done;
died:
    atomic {
        alive[me] = false;
        if :: lock == 1 + me -> lock = DEAD :: else fi;
        i = 1;
        do
        :: i <= MESSAGES -> if :: HOLDS(i) -> holder[i] = 0; given[i] = 0 :: else fi; i++
        :: else -> break
        od
    }
done:
    atomic { my = 0; id = 0; token = 0; how = 0; at = 0; i = 0; stale_id = 0; stale_token = 0; inherited = false }
}

init {
    atomic {
        byte m;
        hint = 1;
        for (m : 0 .. PLACES - 1) { place[m] = 1 + m }
        member_count = PLACES;
        for (m : 0 .. MEMBERS - 1) { alive[m] = true; run taker(m) }
    }
}
