/* Appending under the robust lock, and reading without one: log.c and ring.c.
 *
 * Putters append records of two units each; any of them may die in front of any of its stores. Records
 * go through a ring of RING of them, or (the last one of putter 0) straight to the file. Readers
 * copy and look afterwards whether they were lapped. A change to one of these functions is a change to this model:
 *
 *   here           in the code
 *   lock_append    lock_append(): who inherits publishes the committed tail again, then makes the lock consistent
 *   room           missing_for() and lqi_write_out(): no byte of the ring is overwritten before it is in a file
 *   reserve, fill  lqi_ring_reserve(), fill_ring(): two stores, so that there is a torn record to be seen
 *   commit         commit(): fills the tail that does not count, then `turn` makes it the one that does
 *   publish        publish(): ring_from (lqi_ring_skip_to), written, appended; each store is a step
 *   large          append_large(): write_up_to(), the record into the file, commit with `direct`
 *   write_out      lqi_write_up_to() under the write lock: bytes to the file, then `written`
 *   reader         lqi_ring_copy(): oldest, copy, oldest again; what the ring has lost is read from the file
 *
 * Positions count records here. Stores are seen in program order; the fences of ring.h are there to make
 * that so. `truth` is no part of the code: what was committed at each position, in the step that committed it.
 *
 * Properties:
 *   - What a reader believes is the committed record of that place: never torn, never unpublished, never another's.
 *   - What the ring does not hold any more is in the file.
 *   - `appended` never runs ahead of the committed tail, and stands there whenever the lock is free.
 *   - Ids are dense; whatever PUT has accepted is in the log in the end.
 *   - A dead owner keeps nobody waiting: the others come to their end (no invalid end state).
 *
 * What tests/model/run asks spin, and what spin must answer:
 *   holds  -DDEATHS=0                  nobody dies
 *   holds  -DDEATHS=2 -DRECORDS=3      two deaths, wherever
 *   holds  -DDEATHS=2 -DRECORDS=3 -DLARGE   with a record that goes to the file directly
 *   holds  -DDEATHS=2 -DPUTTERS=3 -DRECORDS=1 -DLARGE   and one more who lives on
 *   fails  -DNO_SECOND_LOOK            believes a copy without looking whether it was lapped
 *   fails  -DRESERVE_LATE              announces the record after copying it in
 *   fails  -DPUBLISH_EARLY             shows the record before it is there
 *   fails  -DNO_ROOM                   overwrites what is in no file yet
 *   fails  -DWRITTEN_EARLY             says that it is written before it is
 *   fails  -DNO_REPUBLISH              inherits the lock without publishing again
 *   fails  -DTAIL_IN_PLACE             changes the tail that counts
 *   fails  -DNO_MEND                   inherits the lock without making it consistent
 *   fails  -DLARGE -DDIRECT_AS_ONE     takes ring_from for the sign that `written` was stored too
 */
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef RECORDS
#define RECORDS 2 /* of each putter */
#endif
#ifndef PUTTERS
#define PUTTERS 2
#endif
#define RING 2
#define LOG  (PUTTERS * RECORDS)

#define FREE    0 /* of a lock; else 1 + its owner */
#define DEAD    100
#define LOST    101

byte append_lock, write_lock;
byte turn;
byte tail_end[2], tail_id[2], tail_direct[2];
byte appended, reserved, ring_from, written;
byte ring_a[RING], ring_b[RING], file_a[LOG], file_b[LOG], truth[LOG];
byte accepted;
byte deaths = DEATHS;

/* One step of a process, or its death in front of it. */
#define STEP(what) if :: d_step { what } :: atomic { deaths > 0 -> deaths--; goto died } fi

#define COMMITTED  (turn & 1)
#define NEXT_TAIL  ((turn + 1) & 1)
#define MAX(a, b)  (a > b -> a : b)
#define OLDEST     MAX(ring_from, (reserved > RING -> reserved - RING : 0))

inline publish() {
#ifdef DIRECT_AS_ONE
    if
    :: tail_direct[COMMITTED] > ring_from ->
        STEP(ring_from = tail_direct[COMMITTED]);
        STEP(if :: tail_direct[COMMITTED] > written -> written = tail_direct[COMMITTED] :: else fi)
    :: else
    fi;
#else
    if
    :: tail_direct[COMMITTED] > ring_from ->
        STEP(ring_from = tail_direct[COMMITTED])
    :: else
    fi;
    if :: tail_direct[COMMITTED] > written -> STEP(written = tail_direct[COMMITTED]) :: else fi;
#endif
    STEP(assert(appended <= tail_end[COMMITTED]); appended = tail_end[COMMITTED])
}

inline lock_append() {
    if
    :: d_step { append_lock == FREE -> append_lock = 1 + me }
    :: d_step { append_lock == DEAD -> append_lock = 1 + me; inherited = true }
    fi;
    if
    :: inherited ->
#ifndef NO_REPUBLISH
        publish();
#endif
#ifndef NO_MEND
        STEP(inherited = false)
#endif
    :: else
    fi
}

inline unlock_append() {
    atomic {
        assert(append_lock == 1 + me);
        assert(appended == tail_end[COMMITTED]);
        append_lock = (inherited -> LOST : FREE); /* as pthreads do it */
    }
}

inline write_out(end) {
    if
    :: d_step { write_lock == FREE -> write_lock = 1 + me }
    :: d_step { write_lock == DEAD -> write_lock = 1 + me } /* nothing to mend */
    fi;
    to = end;
    do
    :: written < to ->
#ifdef WRITTEN_EARLY
        STEP(written++);
        STEP(file_a[written - 1] = ring_a[(written - 1) % RING]; file_b[written - 1] = ring_b[(written - 1) % RING])
#else
        STEP(file_a[written] = ring_a[written % RING]);
        STEP(file_b[written] = ring_b[written % RING]);
        STEP(written++)
#endif
    :: else -> break
    od
}

inline commit(with_direct) {
#ifdef TAIL_IN_PLACE
    STEP(tail_id[COMMITTED] = id);
    STEP(truth[end] = id);
    STEP(tail_end[COMMITTED] = end + 1);
#else
    STEP(tail_id[NEXT_TAIL] = id);
    STEP(tail_end[NEXT_TAIL] = end + 1; tail_direct[NEXT_TAIL] = (with_direct -> end + 1 : tail_direct[COMMITTED]));
    STEP(turn++; truth[end] = id);
#endif
    publish()
}

inline append_small() {
    do
    :: lock_append();
       end = tail_end[COMMITTED];
       id = tail_id[COMMITTED] + 1;
       if
#ifdef NO_ROOM
       :: true -> break
#else
       :: end + 1 <= written + RING -> break
       :: else ->
            unlock_append();
            write_out(appended);
            write_lock = FREE
#endif
       fi
    od;
#ifndef RESERVE_LATE
    STEP(reserved = end + 1);
#endif
#ifdef PUBLISH_EARLY
    STEP(appended = end + 1);
#endif
    STEP(ring_a[end % RING] = id);
    STEP(ring_b[end % RING] = id);
#ifdef RESERVE_LATE
    STEP(reserved = end + 1);
#endif
    commit(false);
    unlock_append()
}

inline append_large() {
    lock_append();
    write_out(tail_end[COMMITTED]);
    end = tail_end[COMMITTED];
    id = tail_id[COMMITTED] + 1;
    STEP(file_a[end] = id);
    STEP(file_b[end] = id);
    commit(true);
    write_lock = FREE;
    unlock_append()
}

proctype putter(byte me) {
    byte end, id, to, left = RECORDS;
    bool inherited;
    do
    :: left == 0 -> break
    :: left > 0 ->
#ifdef LARGE
        if
        :: me == 0 && left == 1 -> append_large()
        :: else -> append_small()
        fi;
#else
        append_small();
#endif
        d_step {
            left--; accepted++; end = 0; id = 0; to = 0;
            assert(accepted <= tail_end[COMMITTED])
        }
    od;
    goto done;
died:
    atomic {
        if :: append_lock == 1 + me -> append_lock = DEAD :: else fi;
        if :: write_lock == 1 + me -> write_lock = DEAD :: else fi;
        end = 0; id = 0; to = 0; left = 0
    }
done: skip
}

/* Looks at one place of the log, any. One is enough: readers change nothing that others see. */
proctype reader() {
    byte at, a, b;
    bool good;
    select(at : 0 .. LOG - 1);
end_nothing_there:
    appended > at;
    good = (at >= OLDEST);
    if
    :: good ->
        a = ring_a[at % RING];
        b = ring_b[at % RING];
#ifndef NO_SECOND_LOOK
        good = (at >= OLDEST)
#endif
    :: else
    fi;
    if
    :: good
    :: else ->
        assert(written > at);
        d_step { a = file_a[at]; b = file_b[at] }
    fi;
    assert(a == truth[at] && b == truth[at] && a == at + 1)
}

init {
    atomic {
        byte i;
        for (i : 0 .. PUTTERS - 1) { run putter(i) }
        run reader()
    }
}
