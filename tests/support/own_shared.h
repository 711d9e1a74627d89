/* A working memory of the test's own, without a queue around it, and who comes to it: for the programs that look at what is set up
 * there, and at what is believed of it. Their tests are listed with WITH_SHARED(). */
#ifndef SUPPORT_OWN_SHARED_H
#define SUPPORT_OWN_SHARED_H

#include <cmocka.h>

#include "api.h"
#include "io_fault.h"
#include "shared.h"

enum { RING = 1 << 16 };

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static struct io_fault fault;
static struct lqi_shared_map made;
static int dir;

/* A working memory that is set up, and mapped: what is stored in it is in the file. */
static inline int set_up(void **state)
{
    if (api_setup(state)) return -1;
    io_fault_init(&fault, &lqi_io_posix);
    HOLDS(lqi_io_posix.dir_open(&lqi_io_posix, -1, *state, &dir) == 0);
    OK(lqi_shared_create(&made, &lqi_io_posix, dir, uuid, RING, 0600));
    atomic_store(&made.head->identity.ready, 1);
    return 0;
}

static inline int tear_down(void **state)
{
    lqi_shared_detach(&made);
    lqi_io_posix.close(&lqi_io_posix, dir);
    io_fault_release(&fault);
    return api_teardown(state);
}

static inline int attach(void)
{
    struct lqi_shared_map map;
    int err = lqi_shared_attach(&map, &fault.io, dir, uuid, true);
    if (!err) EQUAL(map.ring_size, RING);
    lqi_shared_detach(&map);
    return err;
}

#define WITH_SHARED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
