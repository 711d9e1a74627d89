/* libqueue: durable local message queues, shared by the threads and processes
 * of one machine, with no server. This header is the manual.
 *
 * A queue is a directory. Any process that may write there opens it and PUTs
 * messages; a consumer is a named, durable position in the queue, and GETs
 * them. Consumers of different names each see every message; members of one
 * name (threads or processes that opened it) share the messages out between
 * them. What was handed out comes again until it is acked.
 *
 *     lq_queue *queue;
 *     lq_consumer *billing;
 *     lq_message message;
 *
 *     lq_open("orders", NULL, &queue);
 *     lq_put(queue, "hello", 5, NULL);
 *     lq_consumer_open(queue, "billing", NULL, &billing);
 *     if (lq_get(billing, &message, 1000) == LQ_OK)
 *         lq_ack(billing, &message);
 *     lq_consumer_close(billing);
 *     lq_close(queue);
 *
 * WHAT CAN BE LOST. The sync mode is an option of the queue, fixed when it is
 * made. "Accepted" means that the call to PUT has returned LQ_OK.
 *
 *   mode               every process is killed   the power fails
 *   ------------------ ------------------------- ---------------------------------
 *   LQ_SYNC_ALWAYS     nothing accepted          nothing accepted
 *   LQ_SYNC_INTERVAL   nothing accepted          what was put since the last sync,
 *                                                at most sync_interval_ms ago
 *   LQ_SYNC_NEVER      nothing accepted          what the kernel had not written;
 *                                                lq_sync() draws a line by hand
 *   acks, any mode     nothing                   acks since the last lq_sync(), last
 *                                                clean close or save of the position:
 *                                                those messages come again
 *   a failed lq_put    its message is not in the queue, unless it says LQ_EPOISONED
 *                      or LQ_EBUSY: then it may be
 *
 * In LQ_SYNC_ALWAYS, the default, a message is handed out only once it is
 * durable. After a failed fdatasync the queue is poisoned: every later PUT and
 * sync says LQ_EPOISONED until all processes have closed it and one opens it
 * again; GET and ack go on. A handle opened with LQ_DEFER_SYNC puts without
 * waiting for its message to be durable, whatever the mode (only a PUT that begins
 * a new log file waits for the disk): call lq_sync() when it matters.
 *
 * PROMISES. tests/PROMISES.md names, for each, the tests that fail when it is
 * broken.
 *
 *   Messages
 *   P1   An accepted message survives the death of every process, at whatever
 *        instruction, in every sync mode.
 *   P2   What the table calls durable survives power loss, and in LQ_SYNC_ALWAYS
 *        a message is handed out only once it is durable.
 *   P3   A put that failed has put nothing (but for the two codes in the table), and a
 *        batch is there as a whole or not at all.
 *   P4   Ids are dense and increase from 1 in the order of acceptance; one that
 *        was durable is never given again, and no message is in the log twice.
 *   P5   Every read verifies checksums: nobody is ever given bytes that were
 *        not put.
 *
 *   Consumers
 *   P6   Delivery is at least once: what is not settled comes again. What was acked
 *        does not, except after power loss, as the table says.
 *   P7   A consumer with one member sees messages in the order of their ids; what
 *        comes again comes before newer ones.
 *   P8   No message is with two members of a consumer at once. What a member
 *        held when it closed or died goes to others at once: within 100 ms.
 *   P9   An attempt is counted before its hand-out, and the count outlives the
 *        death of whoever it was handed to.
 *   P10  A consumer's position outlives restarts and is never ahead of the log.
 *   P11  Who waits is woken by any thread or process that puts, without polling,
 *        and waits no longer than its time-out.
 *
 *   Damage
 *   P12  A damaged record costs itself and nothing else. Readers and consumers say
 *        LQ_ECORRUPT once, with file and byte in lq_error_text(), and the next
 *        call goes on behind it.
 *   P13  Opening a damaged queue changes none of its bytes: undo the damage and
 *        everything is back.
 *   P14  The end of the log is cut only where nothing on the disk says that it had
 *        been durable, and what was cut is counted.
 *   P15  lq_verify() never says LQ_OK of a queue of which a message or a
 *        position is damaged.
 *   P16  lq_repair() deletes nothing and writes over nothing, wherever it ends; when it
 *        is done, every message that was not hit is there, and lq_verify() says LQ_OK.
 *
 *   Processes
 *   P17  A dead process blocks nobody, wherever it died; a stopped one no reader.
 *   P18  However `shared` is lost, swapped, copied or of another boot: two groups
 *        of processes never use a queue beside each other, and nothing durable is lost.
 *   P19  The child of a fork cannot harm its parent's handles.
 *
 *   The machine
 *   P20  A full disk, a limit, a failing call or no memory is an answer. Nothing
 *        accepted is lost by it, GET and ack go on, and all works again when it is over.
 *   P21  A failed sync is never taken for a good one later: the queue is poisoned.
 *   P22  Opening takes the same time whatever the backlog.
 *   P23  Disk space is given back as the retention says, and size_max is kept.
 *   P24  Looking (LQ_READ_ONLY, readers, stats, verify) writes, locks and creates
 *        nothing, and works on a read-only mount and on a queue in use.
 *   P25  What is on disk is input: whatever it holds, it causes no crash, no signal,
 *        no endless loop and no memory beyond what the queue may hold.
 *   P26  Nothing leads out of a queue: only files with one name are read or written, in
 *        directories that are held open. Links, pipes, devices in their place are damage.
 *   P27  What a newer library wrote is refused and left as it is; an option that is
 *        stored is never taken for another.
 *   P28  The program that links the library sees no signal (but for what FILES and FILE
 *        SYSTEMS tell), no output, no exit, no thread that it did not ask for, and no
 *        descriptor below 3 or open after exec.
 *
 * THREADS. A queue handle may be used by all threads of its process at once. A
 * consumer or reader handle is for one thread at a time; open the name again
 * for another member. Two handles of one queue in one process are fine. What a
 * handler may do is told at lq_notify(). A program that has loaded the shared library by
 * hand may let go of it once all is closed: it stays in memory (link a plug-in that has the
 * static one inside with -z nodelete, too), as the thread may still be ending.
 *
 * FORK. In the child of a fork every handle answers LQ_EFORKED to everything
 * but its close, which frees memory and touches nothing shared. Open anew. A handler
 * may fork; what it returns in the child settles nothing.
 *
 * SIGNALS, OUTPUT. The library installs no signal handler, raises no signal,
 * prints nothing and never exits. It starts no thread unless a queue with
 * LQ_SYNC_INTERVAL is opened for writing or lq_notify() or lq_fd() is called;
 * then one for the whole process, with all signals blocked.
 *
 * ERRORS. Functions return 0 (LQ_OK) when done, a positive code when nothing is
 * wrong but there is nothing to give, and a negative code for an error. Results
 * (`..._out`) are written on LQ_OK only, unless said otherwise. Any function may
 * return LQ_EINVAL (a NULL or senseless argument), LQ_EFORKED, LQ_ENOMEM, LQ_EIO
 * and LQ_EBUSY; other codes are named where they arise. lq_error_text() tells
 * what failed, in which file, at which byte and why.
 *
 * FILES. Those of a queue in use are the library's. One of them, `shared`, is mapped: it is the memory that the processes share.
 * Removed or replaced it stays with those who have it, and new openers are refused until all have closed (LQ_EBUSY, or
 * what is there by its name). Cut or written over in place it takes them down (SIGBUS; if they notice, PUT says
 * LQ_ECORRUPT and consumers LQ_EIO), as a stray pointer would; what was synced is there all the same when the queue is opened next.
 *
 * OTHER USERS. Whoever may write in the directory may put, consume and destroy, and cut
 * `shared`: so share a queue (`mode`) with those you trust, and do not open one that
 * strangers can write in, as in /tmp. What they have left behind may be opened and
 * looked at, once they cannot change it any more.
 * What is made in a queue has the group of its directory if the maker is in it; made by root, it
 * is the directory's owner's, and what repair puts in the place of a file is that one's owner's.
 *
 * FILE SYSTEMS. Local ones. Network file systems (NFS, CIFS, 9p, ...) are
 * refused with LQ_EUNSUPPORTED, as neither locks nor memory are shared there.
 * When xfs or btrfs shut themselves down under an open queue, because their own
 * metadata cannot be written, the kernel may raise SIGBUS in who has it open: the
 * file `shared` is mapped, and cannot be written any more. What is durable stays so.
 *
 * Times are microseconds since 1970 (UTC) by the wall clock of the putter, made
 * monotone within the queue; they are for display and retention, never for order.
 * Time-outs are milliseconds: 0 does not wait, -1 waits for ever. */
#ifndef LIBQUEUE_H
#define LIBQUEUE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LQ_API __attribute__((visibility("default")))
#else
#define LQ_API
#endif

#define LQ_VERSION_MAJOR 0
#define LQ_VERSION_MINOR 1
#define LQ_VERSION_PATCH 0
#define LQ_VERSION "0.1.0"

/* The version of the library that is linked, which may differ from LQ_VERSION. */
LQ_API const char *lq_version(void);

/* ---- codes ------------------------------------------------------------- */

enum {
    LQ_OK = 0,
    LQ_EMPTY = 1,   /* nothing there now */
    LQ_TIMEOUT = 2, /* nothing came, or no room was made, in the time given */

    LQ_EINVAL = -1,       /* an argument makes no sense */
    LQ_ENOMEM = -2,       /* no memory; nothing was changed */
    LQ_EIO = -3,          /* the system failed a call; the text says which, where and why */
    LQ_ENOSPC = -4,       /* the disk, the quota or the file size limit is exhausted; works again when there is space */
    LQ_EFULL = -5,        /* the queue has reached its size_max and its policy is to reject */
    LQ_ENOTFOUND = -6,    /* no such queue, consumer or id */
    LQ_ENOTQUEUE = -7,    /* the path is there but is no queue (a file, or a directory of something else) */
    LQ_EACCESS = -8,      /* permission denied */
    LQ_EVERSION = -9,     /* written by a newer library; or by another build that has not closed it, or died: see lq_open() */
    LQ_ECORRUPT = -10,    /* bytes on disk are damaged */
    LQ_EPOISONED = -11,   /* a sync has failed: what is durable is unknown until the queue is opened anew */
    LQ_EFORKED = -12,     /* the handle was opened by the parent of this process */
    LQ_ELEASE = -13,      /* the message is no longer leased to this member */
    LQ_ETOOBIG = -14,     /* the message is larger than the queue takes */
    LQ_ENAME = -15,       /* not a name: 1 to 100 of [A-Za-z0-9._-], not starting with . or - */
    LQ_EREADONLY = -16,   /* the handle was opened to read only, or the file system is */
    LQ_ELIMIT = -17,      /* no descriptors left; too many handles, consumers or members; or no ids (they end below 2^63) */
    LQ_EBUSY = -18,       /* a process that was stopped holds a lock, or live handles use other working memory */
    LQ_EMISMATCH = -19,   /* an option differs from what the queue or consumer was made with */
    LQ_EUNSUPPORTED = -20 /* this file system or kernel cannot do it */
};

/* "LQ_ENOSPC" for LQ_ENOSPC; "LQ_?" for what is no code. Static, any thread. */
LQ_API const char *lq_error_name(int code);
/* A short English sentence for the code. Static, any thread. */
LQ_API const char *lq_strerror(int code);
/* What the last call ran into, in the calling thread, if it failed: file, byte,
 * reason. Valid until the thread's next call of the library. */
LQ_API const char *lq_error_text(void);

/* ---- queues ------------------------------------------------------------ */

typedef struct lq_queue lq_queue;

enum { /* lq_options.sync */
    LQ_SYNC_ALWAYS = 1,   /* PUT returns when the message is on stable storage (default) */
    LQ_SYNC_INTERVAL = 2, /* synced every sync_interval_ms */
    LQ_SYNC_NEVER = 3     /* left to the kernel, and to lq_sync() */
};

enum { /* lq_options.retention: when a whole segment may be deleted */
    LQ_RETAIN_CONSUMED = 1, /* when every consumer is past it; with no consumer all stays (default) */
    LQ_RETAIN_LIMITS = 2,   /* when the queue is over size_max, or the segment is older than age_max_ms, read or not */
    LQ_RETAIN_BOTH = 3      /* when either of the two says so */
};

enum { /* lq_options.full: what PUT does at size_max when retention frees nothing */
    LQ_FULL_REJECT = 1, /* LQ_EFULL (default) */
    LQ_FULL_BLOCK = 2,  /* waits for room (and for whoever is stopped in its way), up to full_timeout_ms, then LQ_TIMEOUT */
    LQ_FULL_DROP = 3    /* deletes the oldest segment, read or not */
};

enum { /* lq_options.flags */
    LQ_READ_ONLY = 1,  /* look only: nothing is written, locked or created; works on a read-only mount */
    LQ_NO_CREATE = 2,  /* LQ_ENOTFOUND when the queue is not there, instead of making it */
    LQ_DEFER_SYNC = 4  /* PUT by this handle does not wait until it is durable in LQ_SYNC_ALWAYS */
};

/* Zero is the default everywhere; `size` is sizeof(lq_options). The options
 * under "fixed" are stored when the queue is made; to an existing queue, zero
 * means "as stored" and another value than the stored one is LQ_EMISMATCH. */
typedef struct lq_options {
    size_t size;
    uint32_t flags;
    uint32_t mode;            /* permission bits of files when made: 0600; directories get x where r is. Kept in the
                               * queue, for what is made later too, and exact: no umask takes from it */
    int64_t full_timeout_ms;  /* LQ_FULL_BLOCK: how long PUT waits for room; 0 and -1: for ever */
    /* fixed */
    int sync;                 /* LQ_SYNC_ALWAYS */
    uint32_t sync_interval_ms;/* LQ_SYNC_INTERVAL: 100; 1 to 3,600,000 */
    int retention;            /* LQ_RETAIN_CONSUMED */
    int full;                 /* LQ_FULL_REJECT */
    uint64_t size_max;        /* bytes of log kept; 0: no limit. Freed by whole segments, so at least 2 * segment_size */
    int64_t age_max_ms;       /* LQ_RETAIN_LIMITS, _BOTH: 0: no limit */
    uint64_t segment_size;    /* bytes of a log file: 64 MiB; 64 KiB to 4 GiB; rounded up to 4 KiB */
    uint64_t ring_size;       /* bytes of shared memory before the files: 4 MiB; 64 KiB to 1 GiB; rounded up to a power of two */
    uint64_t message_size_max;/* body + key + headers: 1 GiB, which is also the most */
    int compression;          /* zlib level 1 to 9, tried on each record and kept where it pays; 0: none */
} lq_options;

/* Opens the queue in directory `path`, making it when missing (its parent must
 * exist). The path may lead through symbolic links, and is followed in this call
 * only: what is held from then on is the directory. A link to nothing is not made into
 * a queue. `options` may be NULL. Takes the same time whatever the backlog. The
 * first opener after a crash recovers: lq_get_stats() says what had to be dropped.
 * When a queue is made and cannot be opened then (LQ_ENOSPC...), no queue is left:
 * other options will do.
 * LQ_ENOTFOUND LQ_ENOTQUEUE LQ_EACCESS LQ_EVERSION LQ_EMISMATCH LQ_EUNSUPPORTED
 * LQ_ENOSPC LQ_ELIMIT LQ_EREADONLY; LQ_ECORRUPT when `meta` is beyond reading;
 * LQ_EVERSION also while another build of the library has the queue open, and after its
 * processes were killed, until that build has opened and closed it, or a reboot: what they
 * had accepted and not written yet would be lost without a word (without `shared` it is);
 * LQ_EBUSY when another process has been in the middle of opening for 10 s, or
 * the file `shared` was removed while others use it. */
LQ_API int lq_open(const char *path, const lq_options *options, lq_queue **queue_out);

/* Closes the handle and frees it, whatever is returned; NULL is LQ_OK. Close its
 * consumers and readers first (open ones make it LQ_EINVAL, and nothing is done).
 * The last handle of all processes writes everything to the files and syncs
 * it; should that fail, the error is returned and the messages stay in `shared` for
 * the next opener. Never waits for consumers. */
LQ_API int lq_close(lq_queue *queue);

/* A message, put or got. To PUT: zero the struct, set data and size and, where
 * wanted, key and headers (opaque bytes, 65,535 at most each); the rest is
 * ignored. From GET and readers all is set; the bytes are the library's. Pointers of
 * empty parts are not NULL after GET but must not be read. */
typedef struct lq_message {
    uint64_t id;
    const void *data;
    size_t size;
    const void *key;
    size_t key_size;
    const void *headers;
    size_t headers_size;
    int64_t time_us;     /* when it was put */
    uint32_t attempts;   /* how often it has been handed out, this time included; 0 from a reader */
    uint32_t flags;      /* none defined yet: 0 */
    uint64_t lease;      /* token of the hand-out, for ack and its kin */
    uint64_t reserved[4];
} lq_message;

enum { LQ_BATCH_MAX = 65535, LQ_KEY_MAX = 65535, LQ_NAME_MAX = 100 };

/* PUT: appends a message (a NULL `data` with size 0 is an empty one) and stores
 * its id. `id_out` may be NULL. Any thread. The bytes are copied; nothing is kept.
 * LQ_ETOOBIG LQ_EFULL LQ_TIMEOUT LQ_ENOSPC LQ_ELIMIT LQ_EPOISONED LQ_EBUSY LQ_EREADONLY;
 * LQ_ECORRUPT when `shared` was written over while in use. On any of these the message is not in the queue, except that with LQ_EPOISONED and LQ_EBUSY
 * it may be: it was appended, but nobody can say whether it reached the disk. */
LQ_API int lq_put(lq_queue *queue, const void *data, size_t size, uint64_t *id_out);

/* The same for 1 to LQ_BATCH_MAX messages, all or nothing, with consecutive ids.
 * The whole batch is bounded by 1 GiB too (LQ_ETOOBIG). */
LQ_API int lq_put_batch(lq_queue *queue, const lq_message *messages, size_t count, uint64_t *first_id_out);

/* Returns when everything put and acked so far, by any process, is durable.
 * LQ_EPOISONED LQ_EREADONLY LQ_ENOSPC LQ_ELIMIT; LQ_ENOTFOUND LQ_ECORRUPT when a consumer's
 * offset file is gone or was damaged. */
LQ_API int lq_sync(lq_queue *queue);

/* ---- consumers --------------------------------------------------------- */

typedef struct lq_consumer lq_consumer;

enum { /* lq_consumer_options.start: where a consumer that is new begins */
    LQ_START_BEGIN = 0, /* at the oldest message kept */
    LQ_START_END = 1,   /* behind the newest message */
    LQ_START_ID = 2,    /* at start_id, or the next one that is kept; beyond the end as LQ_START_END */
    LQ_START_TIME = 3   /* at the first message put at or after start_time_us */
};

enum { /* lq_consumer_options.flags */
    LQ_CONSUMER_NO_CREATE = 1, /* LQ_ENOTFOUND when there is no such consumer */
    LQ_CONSUMER_DISPATCH = 2,  /* the handler of lq_notify() runs in lq_dispatch() only */
    LQ_CONSUMER_SAVE_ACKS = 4  /* the position is written to its file at every ack (and synced if the queue syncs always) */
};

typedef struct lq_consumer_options {
    size_t size;            /* sizeof(lq_consumer_options) */
    uint32_t flags;
    int start;              /* used when the consumer is made, else ignored */
    uint64_t start_id;
    int64_t start_time_us;
    uint32_t window;        /* how far delivery may run ahead of the oldest unsettled message: 65,536;
                             * 64 to 16,777,216; fixed when made (0 as stored, others LQ_EMISMATCH) */
    uint32_t spin_us;       /* GET spins so long before it sleeps: 0; at most 1,000,000 */
} lq_consumer_options;

/* Joins the consumer `name` as a new member, making the consumer when missing.
 * `options` may be NULL. LQ_ENAME LQ_ENOTFOUND LQ_EMISMATCH LQ_ENOSPC LQ_ELIMIT
 * LQ_EREADONLY LQ_EPOISONED LQ_EVERSION; LQ_ECORRUPT when its offset file cannot be trusted (the
 * text names it; the queue and other consumers are not touched by it). */
LQ_API int lq_consumer_open(lq_queue *queue, const char *name, const lq_consumer_options *options,
                            lq_consumer **consumer_out);

/* Leaves. What this member holds unsettled goes back at once to the others (with
 * LQ_EBUSY, when who was stopped is out of the way); all
 * memory it was lent becomes invalid. NULL is LQ_OK. Frees the handle whatever it
 * returns, except for LQ_EINVAL: a consumer cannot be closed from its own handler. */
LQ_API int lq_consumer_close(lq_consumer *consumer);

/* Deletes the consumer and its position, for ever. LQ_ENAME LQ_ENOTFOUND
 * LQ_EREADONLY; LQ_EBUSY while it has members. */
LQ_API int lq_consumer_delete(lq_queue *queue, const char *name);

/* GET: the next message, leased to this member until it is settled, the member
 * closes or its process dies. The bytes are valid until then. Waits up to `timeout_ms`:
 * LQ_TIMEOUT (with 0, LQ_EMPTY). Also empty while `window` messages are delivered
 * above the oldest unsettled one. LQ_ECORRUPT tells, once, of messages that are
 * damaged and were skipped; call again. */
LQ_API int lq_get(lq_consumer *consumer, lq_message *message_out, int64_t timeout_ms);

/* POLL: GET that never waits, but 200 ms for a member who is in its way. LQ_EMPTY. GET does no more beyond its time
 * either; both say LQ_EBUSY when he has been in the way for 10 s: he was stopped. */
LQ_API int lq_poll(lq_consumer *consumer, lq_message *message_out);

/* Up to `max` messages in one go; waits only for the first. `*count_out` is the
 * number of them, at least 1 on LQ_OK. */
LQ_API int lq_get_batch(lq_consumer *consumer, lq_message *messages_out, size_t max, size_t *count_out,
                        int64_t timeout_ms);

/* Settles the message: it never comes to this consumer again. Its bytes become
 * invalid. LQ_ELEASE, changing nothing, when this member does not hold it any
 * more; acking it twice is fine as long as no other hand-out came between. With
 * LQ_CONSUMER_SAVE_ACKS also LQ_ENOSPC LQ_EPOISONED: acked, but maybe not durable. */
LQ_API int lq_ack(lq_consumer *consumer, const lq_message *message);

/* The same for `count` messages, in any order. All that are held are acked;
 * LQ_ELEASE when any was not. */
LQ_API int lq_ack_batch(lq_consumer *consumer, const lq_message *messages, size_t count);

/* Gives the message back unprocessed: it comes again at once, to any member, and
 * this hand-out is not counted as an attempt. LQ_ELEASE. */
LQ_API int lq_release(lq_consumer *consumer, const lq_message *message);

/* ---- being told -------------------------------------------------------- */

enum { /* what a handler returns */
    LQ_SETTLE_ACK = 0,
    LQ_SETTLE_RELEASE = 1,
    LQ_SETTLE_KEEP = 2 /* the handler's owner will settle it: copy the struct */
};

/* Called with each message. `message` is valid during the call (with KEEP its
 * bytes live on until settled). `message` is NULL when `code` is not LQ_OK: an
 * error of GET, with its text in lq_error_text(); delivery goes on behind damage,
 * and stops after any other error. */
typedef int lq_handler(void *context, int code, const lq_message *message);

/* NOTIFY: has `handler` called with each message as it comes, on the library's
 * one thread, or in lq_dispatch() with LQ_CONSUMER_DISPATCH. All handlers of the
 * process share that thread: one that blocks delays the others. While a handler is set,
 * the consumer belongs to it: only the handler may settle, and nobody may GET. NULL
 * takes the handler away; on return it is not running (unless it is the caller)
 * and will not be called again. LQ_ELIMIT when no thread can be started.
 * A handler may put, open and close other consumers and queues, those with handlers too, and fork. With its own
 * consumer it may settle, set another handler or take itself away; it may neither close it (LQ_EINVAL), and
 * so not its queue, nor GET or dispatch from it, nor ask for its first descriptor (but with LQ_CONSUMER_DISPATCH). */
LQ_API int lq_notify(lq_consumer *consumer, lq_handler *handler, void *context);

/* Runs the handler of a consumer opened with LQ_CONSUMER_DISPATCH, in the calling
 * thread, for up to `max` messages that are there now; never waits.
 * `count_out` may be NULL. LQ_EMPTY when there were none; with `max` 0, LQ_OK. */
LQ_API int lq_dispatch(lq_consumer *consumer, size_t max, size_t *count_out);

/* A descriptor for poll, epoll and their kin: readable while there may be
 * something to get, until a GET, POLL or dispatch has said LQ_EMPTY. Only ever
 * wait for it to be readable; it is closed with the consumer. Returns a
 * descriptor >= 3, or a negative code (LQ_ELIMIT, ...). */
LQ_API int lq_fd(lq_consumer *consumer);

/* ---- looking ----------------------------------------------------------- */

/* Damage, as found by a reader or by lq_verify(). */
typedef struct lq_finding {
    size_t size;
    int code;             /* LQ_ECORRUPT; LQ_EVERSION; LQ_EIO when it could not be read */
    const char *file;     /* relative to the queue; valid during the call or until the next on the reader */
    uint64_t offset;      /* the byte in that file */
    uint64_t first_id;    /* the first message that is lost, 0 when none is or it is not known */
    uint64_t count;       /* how many are lost */
    const char *text;     /* what is wrong, one line; lifetime as `file` */
} lq_finding;

typedef struct lq_reader lq_reader;

/* A reader looks at the log, consumes nothing and takes no lock; it also works
 * on read-only handles. Begins at the oldest message. */
LQ_API int lq_reader_open(lq_queue *queue, lq_reader **reader_out);
LQ_API void lq_reader_close(lq_reader *reader); /* NULL is fine */

/* To the message `id`, or the next one kept; past the end is fine (what comes
 * will be read from there). To the first message put at or after `time_us`. */
LQ_API int lq_reader_seek_id(lq_reader *reader, uint64_t id);
LQ_API int lq_reader_seek_time(lq_reader *reader, int64_t time_us);

/* The next message. Its bytes are valid until the next call on the reader.
 * LQ_EMPTY at the end (more may come); LQ_ECORRUPT once per damaged place, told
 * by lq_reader_damage(): call again, the reader is behind it. */
LQ_API int lq_reader_next(lq_reader *reader, lq_message *message_out);
LQ_API int lq_reader_damage(lq_reader *reader, lq_finding *finding_out);

/* Waits until lq_reader_next() may have something. LQ_TIMEOUT. */
LQ_API int lq_reader_wait(lq_reader *reader, int64_t timeout_ms);

typedef struct lq_stats {
    size_t size;              /* set before the call: sizeof(lq_stats) */
    uint64_t first_id;        /* the oldest message kept; last_id + 1 when there is none */
    uint64_t last_id;         /* the newest message put; 0 when none ever was */
    uint64_t visible_id;      /* the newest message that may be handed out */
    uint64_t bytes;           /* of log kept, in memory and files */
    uint64_t appended, written, synced; /* positions: ends of what is put, in files, durable */
    uint64_t segments, consumers, handles; /* counts; handles of all processes, 0 when not known */
    uint64_t recovered_bytes; /* dropped as a torn tail when the working memory was last set up */
    uint64_t recovered_messages; /* found in the working memory of dead processes, and saved */
    uint64_t damage;          /* damaged places met since then */
    int64_t first_time_us, last_time_us; /* of the oldest and newest message kept, 0 when none */
    int poisoned;             /* 1: see LQ_EPOISONED */
    int live;                 /* 1: some process has the queue open for writing */
    /* the queue's options, as stored */
    int sync, retention, full, compression;
    uint32_t sync_interval_ms, format;
    uint64_t size_max, segment_size, ring_size, message_size_max;
    int64_t age_max_ms;
} lq_stats;

LQ_API int lq_get_stats(lq_queue *queue, lq_stats *stats_out);

typedef struct lq_consumer_stats {
    size_t size;              /* set before the call: sizeof(lq_consumer_stats) */
    char name[LQ_NAME_MAX + 4];
    uint64_t floor;           /* every message up to it is settled */
    uint64_t delivered;       /* the newest message ever handed out */
    uint64_t ready;           /* waiting to be handed out, those that come again included */
    uint64_t unacked;         /* handed out and not settled */
    uint64_t dropped;         /* messages that retention deleted, or repair gave up, before they were settled */
    uint32_t members;
    uint32_t window;
    int64_t saved_time_us;    /* when the position was last written to its file, 0 never */
} lq_consumer_stats;

/* LQ_ENAME LQ_ENOTFOUND LQ_ECORRUPT (its offset file). */
LQ_API int lq_get_consumer_stats(lq_queue *queue, const char *name, lq_consumer_stats *stats_out);

/* Calls `each` for every consumer, by name; a `code` other than LQ_OK tells of an offset
 * file that cannot be read (only the name is set then). A return other than 0 ends it
 * and is returned. The callback may not call functions on this queue. */
typedef int lq_consumer_callback(void *context, int code, const lq_consumer_stats *stats);
LQ_API int lq_each_consumer(lq_queue *queue, lq_consumer_callback *each, void *context);

typedef struct lq_segment {
    size_t size;
    const char *file;            /* relative to the queue; valid during the call */
    uint64_t first_id, last_id;  /* last_id < first_id: no message yet */
    uint64_t position;           /* of its first byte on the log's number line */
    uint64_t bytes;              /* of records */
    uint64_t file_bytes;         /* of the file */
    int64_t first_time_us, last_time_us;
    int sealed;
    int code;                    /* LQ_OK, or why the segment cannot be read */
} lq_segment;

/* Calls `each` for every log file, oldest first. A return other than 0 ends it
 * and is returned. The callback may not call functions on this queue. */
typedef int lq_segment_callback(void *context, const lq_segment *segment);
LQ_API int lq_each_segment(lq_queue *queue, lq_segment_callback *each, void *context);

enum { LQ_VERIFY_QUICK = 1 }; /* headers, footers and positions, not the bodies */

typedef struct lq_verify_result {
    size_t size;                 /* set before the call */
    uint64_t segments, consumers, messages, bytes; /* looked at */
    uint64_t findings, lost;     /* damaged places; messages lost in them */
} lq_verify_result;

/* Checks every byte of the queue at `path` and changes none; on a queue in use
 * too. Calls `each` (may be NULL) with each finding; what the disk does not give of the log is one. LQ_ECORRUPT
 * when there was any: never LQ_OK on damage. `result_out` may be NULL, and is set with LQ_ECORRUPT too. */
typedef void lq_finding_callback(void *context, const lq_finding *finding);
LQ_API int lq_verify(const char *path, unsigned flags, lq_finding_callback *each, void *context,
                     lq_verify_result *result_out);

/* ---- repairing --------------------------------------------------------- */

enum { LQ_REPAIR_DRY_RUN = 1 }; /* only says what would be done; writes nothing */

/* One thing that was mended. */
typedef struct lq_repair_step {
    size_t size;
    const char *file;    /* what was damaged, relative to the queue; valid during the call, as are the texts */
    const char *aside;   /* where the damaged file is now, whole; "" when there was none, and in a dry run */
    const char *damage;  /* what was wrong, one line */
    const char *remedy;  /* what was done about it, one line */
    uint64_t first_id;   /* the first message given up, 0 when none is */
    uint64_t count;      /* how many are */
} lq_repair_step;

typedef struct lq_repair_result {
    size_t size;         /* set before the call */
    uint64_t steps;      /* things mended, or in a dry run: that would be */
    uint64_t lost;       /* messages given up in them */
} lq_repair_result;

/* Makes a damaged queue whole again: afterwards lq_verify() finds nothing, every message that was not hit has its id
 * and can be read and consumed, and PUT works. With a sound queue nothing is done. Calls `each` (may be NULL) with each
 * step; the callback may not call functions on this queue. `result_out` may be NULL, and is set on failure too.
 *
 * Nothing is deleted or written over. A damaged file goes as it is into the directory `aside` of the queue, under a name
 * that says when and what; what takes its place was made and synced before, and the two are swapped in one go. So it may
 * end anywhere, by death or power loss, and be called again.
 *
 *   damaged                  what is done
 *   ------------------------ -----------------------------------------------------------------
 *   records                  the segment is written anew: good records stay as they are, and a hole takes the place of
 *                            the bad ones. Readers and consumers pass over it without an error; consumers count its
 *                            messages as `dropped`
 *   header, index, trailer   the segment is written anew; if both copies of the header are gone, and the trailer with them, it is a
 *                            missing one
 *   a missing segment        a segment that is one hole, and takes no room
 *   the end of the log       ends with a hole for all that may have been there: no id is given twice
 *   meta                     from its good copy. If there is none: a new one with this queue's uuid and the default
 *                            options, but the mode of the damaged file, or of the directory; if its trim slots are gone, the log begins with its oldest file
 *   an offset file           the newest position in it that verifies. If there is none: the consumer starts again at the
 *                            oldest message. Messages may so come again, and none is skipped
 *   the directory consumers  is made; the consumers were in it, and begin anew
 *   foreign files            set aside, if they are in log/ or consumers/, or in the place of `shared`
 *   links                    nothing: what a symbolic link leads to, or has a second name (a hard link), may be good. LQ_ECORRUPT
 *                            says which it is; put the file itself, or a copy, in its place
 *
 * What processes that died left in `shared` is brought into the files first, as by any opener; a dry run does not know
 * what damage that will bring to light.
 *
 * LQ_EBUSY while anybody has the queue open for writing. LQ_ENOTFOUND LQ_ENOTQUEUE LQ_EVERSION LQ_EACCESS LQ_EREADONLY LQ_ENOSPC;
 * LQ_EUNSUPPORTED where the file system cannot swap names; LQ_ECORRUPT when files contradict each other in a way that
 * damage does not explain, or when more than 1 TiB of the log is missing: no segment is touched then. At the end all is
 * verified, as by lq_verify(): if anything is left that cannot be mended, that is LQ_ECORRUPT too, and the text of the error
 * says what (a dry run does not know it). What was done before a failure stays done. */
typedef void lq_repair_callback(void *context, const lq_repair_step *step);
LQ_API int lq_repair(const char *path, unsigned flags, lq_repair_callback *each, void *context,
                     lq_repair_result *result_out);

#ifdef __cplusplus
}
#endif

#endif
