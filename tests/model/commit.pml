/* The group commit, and what a failed sync means: lqi_commit(), lead(), seal() of writeout.c.
 *
 * Putters append and want to be durable; one of them leads, the others follow. A roller syncs the same file under another
 * lock. Any of them may die in front of any step, one sync (or the kernel's own writing back) may fail.
 * A change to one of these functions is a change to this model:
 *
 *   here            in the code
 *   commit          lqi_commit(): listen, synced, the sync lock by trylock, else poisoned?, sleep on the bell `durable`
 *   lead            lead(): poisoned? now that the lock is ours; the tail, write_for_sync(), sync_or_poison(), raise_to(&state->synced)
 *   write_out       lqi_write_up_to() under the write lock
 *   open_file       open_for_sync(): if there is a sync of which nobody knows the outcome when the file has been
 *                   opened, what is not known to be synced is written again (write_again())
 *   sync            sync_or_poison(): in_doubt = 1, fdatasync, then poisoned, or in_doubt = 0
 *   roller          seal(), of whoever had to write out: poisoned?, sync_or_poison(), raise_to()
 *
 * The kernel: fdatasync() writes the dirty pages. If that fails they are clean all the same (`dirty_from`
 * moves on, `disk` does not). The failure is told once to each descriptor that was open, and to one opened later only
 * if nobody has been told before. So who opens the file after the one who was told has died must not trust a good answer.
 *
 * The bell is one step here: wake.pml is about its inside. `disk` is no part of the code: what really is on the disk.
 *
 * Properties:
 *   - `synced` never runs ahead of the disk; so what commit() says is durable, is; and so is what readers see.
 *   - Nobody waits for ever; the bound of a wait is needed only when somebody died before his ring (`owed`).
 *
 * What tests/model/run asks spin, and what spin must answer:
 *   holds  -DDEATHS=0 -DFAILURES=0 -DNO_BOUND   with neither deaths nor failures the bound is never needed
 *   holds  -DDEATHS=2                           the leader dies, the next one too, and a sync fails
 *   holds  -DDEATHS=2 -DROLL -DPUTTERS=2        with a roll at the same time
 *   holds  -DDEATHS=0 -DTHREADS                 putters of one process, who share a descriptor
 *   fails  -DSYNCED_FROM_TAIL_AFTER             says as durable what was appended during the sync
 *   fails  -DRAISE_FIRST                        says it before the sync
 *   fails  -DDEATHS=0 -DTHREADS -DPOISON_UNLOCKED   asks for poison before it has the sync lock only
 *   fails  -DTRY_AGAIN                          tries a failed sync again, and believes it
 *   fails  -DNO_DOUBT                           trusts the sync after a leader who died in one
 *   fails  -DROLL -DPUTTERS=2 -DLOOK_FIRST      asks whether there is doubt before opening the file
 *   fails  -DNO_WRITE_AGAIN                     sees the doubt and only syncs again
 *   fails  -DDEATHS=0 -DRING_EARLY -DNO_BOUND   rings before `synced` has moved
 *   fails  -DNO_BOUND                           sleeps without a bound though a leader may die
 */
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef FAILURES
#define FAILURES 1
#endif
#ifndef PUTTERS
#define PUTTERS 3
#endif
#ifdef ROLL
#define ALL (PUTTERS + 1)
#else
#define ALL PUTTERS
#endif

#define FREE 0 /* of a lock; else 1 + its owner */
#define DEAD 100

byte sync_lock, write_lock;
byte appended, written, synced;
bool poisoned, lead_in_doubt, roll_in_doubt;
bool heard[4]; /* nothing since listen() */
bool owed;
byte deaths = DEATHS, failures = FAILURES;

#ifdef THREADS
bool is_open, knows;
#define DESCRIPTOR
#else
#define DESCRIPTOR bool is_open, knows
#endif

byte disk, dirty_from;          /* bytes up to `disk` are on it; those from dirty_from on are dirty */
bool failed, failure_told;

/* One step of a process, or its death in front of it. */
#define STEP(what) if :: d_step { what } :: atomic { deaths > 0 -> deaths--; goto died } fi

#define RING heard[0] = false; heard[1] = false; heard[2] = false; heard[3] = false; owed = false

inline lock_write() {
    if
    :: d_step { write_lock == FREE -> write_lock = 1 + me }
    :: d_step { write_lock == DEAD -> write_lock = 1 + me }
    fi
}

inline write_out(end) {
    if :: written < end -> STEP(written = end) :: else fi
}

inline open_file() {
    if
    :: !is_open ->
#ifdef LOOK_FIRST
        doubt = lead_in_doubt || roll_in_doubt;
        STEP(is_open = true; knows = failed && failure_told);
#else
        STEP(is_open = true; knows = failed && failure_told);
        doubt = lead_in_doubt || roll_in_doubt;
#endif
#ifdef NO_DOUBT
        doubt = false;
#endif
#ifndef NO_WRITE_AGAIN
        if
        :: doubt -> STEP(if :: synced < written && synced < dirty_from -> dirty_from = synced :: else fi)
        :: else
        fi;
#endif
        doubt = false
    :: else
    fi
}

/* The system call. It cannot be killed inside, but what it says may never be heard. */
inline fdatasync() {
    covers = written;
    if
    :: d_step { /* pages that were lost stay lost, and whatever is behind them is no use */
        if :: covers > disk && dirty_from <= disk -> disk = covers :: else fi;
        if :: covers > dirty_from -> dirty_from = covers :: else fi
       }
    :: d_step {
        failures > 0 && dirty_from < covers ->
            failures--; failed = true; failure_told = false; dirty_from = covers
       }
    fi;
    d_step {
        covers = 0;
        bad = (failed && !knows);
        if :: bad -> knows = true; failure_told = true :: else fi
    }
}

inline sync(in_doubt) {
#ifndef NO_DOUBT
    STEP(in_doubt = true);
#endif
    fdatasync();
#ifdef TRY_AGAIN
    if :: bad -> fdatasync() :: else fi;
#endif
    if
    :: bad ->
        STEP(poisoned = true);
        STEP(RING)
    :: else -> STEP(in_doubt = false)
    fi
}

inline raise(end) {
    STEP(if :: synced < end -> synced = end :: else fi; assert(synced <= disk))
}

inline lead() {
    STEP(end = appended);
    lock_write();
    write_out(end);
    open_file();
    STEP(write_lock = FREE);
#ifdef RAISE_FIRST
    raise(end);
#endif
    sync(lead_in_doubt);
#ifdef SYNCED_FROM_TAIL_AFTER
    end = appended;
#endif
#ifdef RING_EARLY
    STEP(RING);
#endif
    if
    :: !bad -> raise(end)
    :: else
    fi
}

inline commit(position) {
    do
    :: STEP(heard[me] = true);
       if
       :: synced >= position -> assert(disk >= position); break
       :: else
       fi;
#ifdef POISON_UNLOCKED
       if :: poisoned -> break :: else fi;
#endif
       if
       :: d_step { sync_lock == FREE || sync_lock == DEAD -> sync_lock = 1 + me }
            if
            :: synced < position ->
#ifndef POISON_UNLOCKED
                if
                :: poisoned -> bad = true
                :: else -> lead()
                fi
#else
                lead()
#endif
            :: else
            fi;
            STEP(sync_lock = FREE);
#ifndef RING_EARLY
            STEP(RING);
#endif
            end = 0;
            if :: bad -> break :: else fi
       :: else ->
            if :: poisoned -> break :: else fi;
            if
            :: !heard[me]
#ifndef NO_BOUND
            :: owed
#endif
            fi
       fi
    od
}

proctype putter(byte me) {
    byte mine, end, covers;
    DESCRIPTOR;
    bool bad, doubt;
    STEP(appended++; mine = appended);
    commit(mine);
    goto done;
died:
    atomic {
        if :: sync_lock == 1 + me -> sync_lock = DEAD :: else fi;
        if :: write_lock == 1 + me -> write_lock = DEAD :: else fi;
        owed = true
    }
done:
    atomic { mine = 0; end = 0; covers = 0; bad = false }
}

/* Syncs what is there under the write lock only, some time. */
proctype roller(byte me) {
    byte end, covers;
    DESCRIPTOR;
    bool bad, doubt;
    lock_write();
    write_out(appended);
    end = written;
    if
    :: poisoned
    :: else ->
        open_file();
        sync(roll_in_doubt);
        if
        :: !bad ->
            raise(end);
            STEP(RING)
        :: else
        fi
    fi;
    STEP(write_lock = FREE);
    goto done;
died:
    atomic {
        if :: write_lock == 1 + me -> write_lock = DEAD :: else fi;
        owed = true
    }
done: skip
}

init {
    atomic {
        byte i;
        for (i : 0 .. PUTTERS - 1) { run putter(i) }
#ifdef ROLL
        run roller(PUTTERS)
#endif
    }
}
