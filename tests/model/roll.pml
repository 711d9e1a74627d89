/* Rolling, trimming and clamping: what is on the disk when a writer rolls over to new segments, retention deletes old ones, and
 * a consumer moves on, and all of it ends at any moment. writeout.c, retain.c, and of recovery what concerns them.
 *
 * Every file has one record here, and its number is the id of that. A writer puts, a trimmer deletes, a consumer takes, acks
 * and saves its position. Any of them may die in front of any step, and another one begins anew with what it left in shared
 * memory; all may be killed at once; or the power fails, and of what was not synced any part is there. Recovery, in
 * front of whose steps the same may happen, then says where the log begins and ends, and where the consumer stands.
 * A change to one of these functions is a change to this model:
 *
 *   here            in the code
 *   roll            seal() and create(), of whoever has the write lock: sync, raise_to(&synced), rename, directory, write_span
 *   put             the record into the file (the ring is left out), and with ALWAYS the group commit (commit.pml)
 *   trim            retain_locked(): decide(), fits(); store_trim() in two steps; announce(); delete_segments()
 *   take            a GET at a place where a record is, where a file is not, or that retention has given up: lqi_skip_to()
 *   save            lqi_consumer_save_durably()
 *   sweep           sweep_trimmed()
 *   find_end        lqi_find_end(), and what it makes durable before it is shown
 *   stand           stand() and lqi_consumers_standing(): the clamp to what the log has
 *
 * `given` and `settled` are no part of the code: the consumer was given the record that has this id now, and acked it.
 *
 * Properties:
 *   - What was promised is there, and no gap: a file that recovery or a consumer misses was given up.
 *   - With ALWAYS a consumer is given only what is on the disk.
 *   - With CONSUMED nothing is deleted that was not acked.
 *   - In the end the consumer has been given each message of the log: of an id that was given again, the last one.
 *
 * What tests/model/run asks spin, and what spin must answer:
 *   holds  -DALWAYS -DCRASHES=3 -DDEATHS=1               LQ_SYNC_ALWAYS, retention by limits; three crashes, one of them maybe in recovery
 *   holds  -DALWAYS -DCONSUMED -DCRASHES=2               retention by consumption
 *   holds  -DCRASHES=3 -DDEATHS=1                        LQ_SYNC_NEVER: ids are given again
 *   holds  -DCONSUMED -DCRASHES=3 -DDEATHS=1             the same by consumption
 *   fails  -DALWAYS -DUNLINK_FIRST                       deletes the file before the slot says so
 *   fails  -DALWAYS -DSLOT_UNSYNCED                      ... before the slot is durable
 *   fails  -DALWAYS -DCRASHES=2 -DSWEEP_BLINDLY          recovery deletes by a slot that may not be durable
 *   fails  -DCRASHES=0 -DANNOUNCE_LATE                   deletes before it tells those who read
 *   fails  -DCRASHES=0 -DCONSUMED -DBY_DELIVERED         takes for consumed what was handed out
 *   fails  -DNO_SEAL                                     begins a file before the one before is synced
 *   fails  -DALWAYS -DNO_DIR_SYNC                        believes a new name without a sync of the directory
 *   fails  -DALWAYS -DDEATHS=1 -DCREATED_BEFORE          does not sync it if the file is there already
 *   fails  -DALWAYS -DCRASHES=2 -DSHOW_UNSYNCED          recovery shows what is in the page cache only
 *   fails  -DNO_CLAMP                                    leaves a consumer ahead of the log's end
 *   fails  -DCRASHES=2 -DCLAMP_UNSAVED                   clamps it, but not in its file
 *   fails  -DCRASHES=0 -DNO_SKIP                         waits for what retention has deleted
 */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#define MESSAGES 3
#define ROOM 5

/* As programs see it, and what is durable of it; number i is the file, or its record. */
bool name[ROOM], name_disk[ROOM], record[ROOM], record_disk[ROOM];
byte slot = 1, slot_disk = 1, saved, saved_disk;

/* The working memory; `acked` is the consumer's floor. */
byte appended, synced, write_span, first = 1, acked, delivered;

bool up = true;
byte dead, crashes = CRASHES, deaths = DEATHS; /* who has noticed that all were killed; that may come */
bool given[ROOM], settled[ROOM];

#ifdef ALWAYS
#define VISIBLE synced
#else
#define VISIBLE appended
#endif

/* One step of a process, or its death in front of it, or of all. */
#define STEP(what) if :: d_step { up -> what } :: !up -> goto crashed :: atomic { up && deaths > 0 -> deaths--; goto died } fi
#define CRASHED    atomic { !up -> dead++ }; atomic { up -> dead-- }

#define SYNC_DIRECTORY name_disk[1] = name[1]; name_disk[2] = name[2]; name_disk[3] = name[3]
#define UNLINK(i)      name[i] = false; record[i] = false; record_disk[i] = false
#define GIVE_UP        given[first] = false; settled[first] = false; first++
#define NEW            (appended + 1)

inline roll() {
#ifndef NO_SEAL
    STEP(record_disk[appended] = record[appended]);
    STEP(synced = appended);
#endif
    if
    :: name[NEW]
    :: else -> STEP(name[NEW] = true)
#ifdef CREATED_BEFORE
        ; STEP(SYNC_DIRECTORY)
#endif
    fi;
#if !defined(NO_DIR_SYNC) && !defined(CREATED_BEFORE)
    STEP(SYNC_DIRECTORY);
#endif
    STEP(write_span = NEW)
}

proctype writer() {
end_idle:
    do
    :: up && appended < MESSAGES && VISIBLE == appended ->
        if :: write_span <= appended -> roll() :: else fi;
        STEP(record[NEW] = true; given[NEW] = false; settled[NEW] = false; appended++)
#ifdef ALWAYS
    :: up && synced < appended -> /* who has put it, or if that one has died, somebody who waits for it */
        STEP(record_disk[appended] = record[appended]);
        STEP(synced = appended)
#endif
    :: !up ->
crashed:
        CRASHED
    :: false ->
died:
        skip
    od
}

#ifdef BY_DELIVERED
#define CONSUMED_TO delivered
#else
#define CONSUMED_TO acked
#endif
#ifdef CONSUMED
#define MAY_GO (first <= synced && first <= CONSUMED_TO)
#else
#define MAY_GO (first <= synced)
#endif

proctype trimmer() {
end_idle:
    do
    :: up && first < write_span && MAY_GO ->
#ifdef CONSUMED
        STEP(assert(settled[first]));
#endif
#ifdef UNLINK_FIRST
        STEP(UNLINK(first));
#endif
        STEP(slot = first + 1);
#ifndef SLOT_UNSYNCED
        STEP(slot_disk = slot);
#endif
#ifdef ANNOUNCE_LATE
        STEP(UNLINK(first));
        STEP(GIVE_UP)
#else
        STEP(GIVE_UP);
        STEP(UNLINK(first - 1))
#endif
    :: !up ->
crashed:
        CRASHED
    :: false ->
died:
        skip
    od
}

proctype consumer() {
    do
    :: up && delivered < VISIBLE ->
        if
        :: name[delivered + 1] ->
            STEP(if
                 :: name[delivered + 1] ->
                    delivered++;
                    given[delivered] = true;
#ifdef ALWAYS
                    assert(name_disk[delivered] && record_disk[delivered])
#endif
                 :: else
                 fi)
        :: else ->
            STEP(assert(delivered + 1 < first)); /* else it is called damage */
#ifdef NO_SKIP
            false;
#endif
            STEP(delivered = first - 1; acked = first - 1)
        fi
    :: up && acked < delivered -> STEP(acked++; settled[acked] = acked >= first)
    :: up && saved < acked ->
        STEP(saved = acked);
        STEP(saved_disk = saved)
    :: d_step { up && acked == MESSAGES && saved == MESSAGES ->
                assert((given[1] || first > 1) && (given[2] || first > 2) && given[3]) }
end_of_all:
        !up
    :: !up ->
crashed:
        CRASHED
    :: false ->
died:
        skip
    od
}

/* Of what was not synced any part is there; a file without a name is gone. */
inline lose_power() {
    atomic {
        for (i : 1 .. MESSAGES) {
            if :: name[i] = name_disk[i] :: name[i] != name_disk[i] -> name_disk[i] = name[i] fi;
            if :: record[i] = record_disk[i] :: record[i] != record_disk[i] -> record_disk[i] = record[i] fi;
            if :: !name[i] -> record[i] = false; record_disk[i] = false :: else fi
        }
        if :: slot = slot_disk :: slot != slot_disk -> slot_disk = slot fi;
        if :: saved = saved_disk :: saved != saved_disk -> saved_disk = saved fi;
        i = 0
    }
}

/* One step of recovery, or the next crash in front of it. */
#define STEP_UP(what) if :: d_step { what } :: atomic { crashes > 0 -> crashes--; goto crashed } fi

inline sweep() {
#ifndef SWEEP_BLINDLY
    if :: slot > 1 && (name[1] || (slot > 2 && name[2])) -> STEP_UP(slot_disk = slot) :: else fi;
#endif
    if :: slot > 1 && name[1] -> STEP_UP(UNLINK(1)) :: else fi;
    if :: slot > 2 && name[2] -> STEP_UP(UNLINK(2)) :: else fi
}

inline find_end() {
    d_step {
        last = slot - 1;
        do
        :: last < MESSAGES && name[last + 1] && record[last + 1] -> last++
        :: else -> break
        od;
        assert(last >= synced);
        for (i : last + 2 .. MESSAGES) { assert(!name[i]) }
        i = 0
    }
#ifndef SHOW_UNSYNCED
    STEP_UP(record_disk[last] = record[last]);
    STEP_UP(SYNC_DIRECTORY)
#endif
}

inline stand() {
    STEP_UP(saved_disk = saved);
    floor = saved;
#ifndef NO_CLAMP
    if :: floor > last -> floor = last :: else fi;
#endif
    if :: floor < slot - 1 -> floor = slot - 1 :: else fi;
#if !defined(NO_CLAMP) && !defined(CLAMP_UNSAVED)
    if
    :: saved > last ->
        STEP_UP(saved = floor);
        STEP_UP(saved_disk = saved)
    :: else
    fi
#endif
}

proctype machine() {
    byte i, last, floor;
end_idle:
    do
    :: atomic { up && crashes > 0 -> crashes--; up = false }
       dead == 3;
crashed:
       atomic { last = 0; floor = 0 };
       if
       :: lose_power()
       :: skip /* processes were killed: what was written is there, synced or not */
       fi;
       sweep();
       find_end();
       stand();
       d_step {
           do :: first < slot -> GIVE_UP :: else -> break od;
           appended = last; synced = last; write_span = last + name[last + 1];
           acked = floor; delivered = floor;
           i = 0; last = 0; floor = 0; up = true
       }
    od
}

init {
    atomic { run writer(); run trimmer(); run consumer(); run machine() }
}
