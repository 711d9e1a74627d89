/* Sleeping and waking: struct lqi_bell of wait.c, GET's sleep_for_more() of get.c.
 *
 * Each store, each load and each futex call of the code is a step of its own here, and the steps
 * of all processes interleave in every way. A change to one of these functions is a change to this model:
 *
 *   here            in the code
 *   visible++       what readers look at moves: lqi_ring_publish(), or raise_to(&state->synced) of a leader
 *   ring            lqi_bell_ring(): fence, load of listeners; lqi_bell_ring_slow(): load, word++, wake, compare and
 *                   exchange
 *   listen          lqi_bell_listen(): load of word, counting compare and exchange (a loop there; the whole of it
 *                   takes effect in the round that succeeds)
 *   look again      lqi_may_take() in sleep_for_more()
 *   futex wait      lqi_wait(): compares and falls asleep in one step, as the kernel does it under its lock
 *
 * Memory is sequentially consistent here. That the code needs no more than its two fences for that: either the ringer sees the
 * flag or the sleeper sees the change, which is what a pair of seq_cst fences gives (wait.h).
 *
 * Properties. The bound of a wait (LQI_SLEEP_US) does not come to help unless that is owed:
 *   - Nobody sleeps for ever with something visible: spin calls that an invalid end state.
 *   - The bound ends a wait only when a ringer died between his change and the end of his ring, and
 *     nobody has rung from beginning to end since (`owed`).
 *
 * What tests/model/run asks spin, and what spin must answer:
 *   holds  -DDEATHS=0 -DNO_BOUND                 without deaths the bound is never needed
 *   holds  -DDEATHS=2                            whoever dies, only the last ringer's death costs the bound
 *   holds  -DDEATHS=1 -DRINGERS=3 -DSLEEPERS=1   the same with more to ring
 *   fails  -DNO_LOOK_AGAIN                       sleeps without having looked after raising the flag
 *   fails  -DRING_FIRST                          rings before the change
 *   fails  -DSEEN_LATE                           reads the word after having looked again
 *   fails  -DLOWER_FIRST                         lowers the flag before waking: death in between costs later rings
 *   fails  -DLOWER_BLINDLY                       lowers the flag though somebody has raised it since
 *   fails  -DNO_COUNT                            raises the flag without counting
 *   fails  -DNO_BOUND                            waits without a bound though a ringer may die
 */
#ifndef RINGERS
#define RINGERS 2
#endif
#ifndef SLEEPERS
#define SLEEPERS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

byte visible, word, listeners; /* bit 0 of listeners: the flag */
bool asleep[SLEEPERS];
byte deaths = DEATHS, fallen;  /* that may come; that came to a ringer with a ring to do */
bool owed;
byte ringing = RINGERS;

/* One step of a process, or its death in front of it. */
#define STEP(what) if :: d_step { what } :: atomic { deaths > 0 -> deaths--; goto died } fi
#define WAKE_ALL   asleep[0] = false; asleep[SLEEPERS - 1] = false
#define LOWER      listeners = listeners & 254

/* A ring; `up` is what it last saw of listeners. */
inline ring_bell() {
    STEP(up = listeners; began = fallen);
    if
    :: up & 1 ->
        STEP(up = listeners);
        if
        :: up & 1 ->
#ifdef LOWER_FIRST
            STEP(LOWER);
            STEP(word++);
            STEP(WAKE_ALL)
#else
            STEP(word++);
            STEP(WAKE_ALL);
#ifdef LOWER_BLINDLY
            STEP(LOWER)
#else
            STEP(if :: listeners == up -> LOWER :: else fi)
#endif
#endif
        :: else
        fi
    :: else
    fi;
    d_step { if :: began == fallen -> owed = false :: else fi; up = 0; began = 0 }
}

proctype ringer() {
    byte up, began;
#ifdef RING_FIRST
    ring_bell();
    visible++;
#else
    STEP(visible++);
    ring_bell();
#endif
    goto done;
died:
    atomic { fallen++; owed = true; up = 0; began = 0 }
done:
    ringing--
}

/* Wants to see what all ringers make visible. */
proctype sleeper(byte me) {
    byte seen, next;
    do
    :: d_step { next < visible -> next = visible; seen = 0 }
    :: next == RINGERS -> break
    :: next == visible && next < RINGERS ->
#ifndef SEEN_LATE
        STEP(seen = word);
#endif
#ifdef NO_COUNT
        STEP(listeners = listeners | 1);
#else
        STEP(listeners = (listeners + 2) | 1);
#endif
        if
#ifndef NO_LOOK_AGAIN
        :: next < visible
        :: next == visible ->
#else
        :: true ->
#endif
#ifdef SEEN_LATE
            seen = word;
#endif
            if
            :: d_step { word == seen -> asleep[me] = true }
                if
                :: !asleep[me]
                :: ringing == 0 && next == visible -> break /* rightly asleep: nothing more comes */
#ifndef NO_BOUND
                :: d_step { ringing == 0 && next < visible && owed -> asleep[me] = false }
#endif
                fi
            :: word != seen
            fi
        fi
    od;
died: skip
}

init {
    atomic {
        byte i;
        for (i : 0 .. RINGERS - 1) { run ringer() }
        for (i : 0 .. SLEEPERS - 1) { run sleeper(i) }
    }
}
