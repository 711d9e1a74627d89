/* Making files and directories on the real machine, and giving them a name: whole, at once, for those they are for; while calls of the
 * C library fail, and where a file system cannot do it. */
#include "support/child.h"
#include "support/place.h"

static void whether_copies_can_be_declined_does_not_matter(void **state)
{
    struct place place = open_place(state);
    for (unsigned after = 0; after < 2; after++) {
        int fd = -1;
        fail_calls(IOCTL, after, 1, ENOTTY);
        assert_int_equal(io->open(io, place.dir, after ? "b" : "a", LQI_OPEN_NEW | LQI_OPEN_IN_PLACE, 0600, &fd), 0);
        memset(&plan, 0, sizeof plan);
        io->close(io, fd);
    }
    close_place(&place);
}

/* A directory that was made is there, whether its mode can be seen to or not. */
static void a_directory_is_made_though_nothing_can_be_done_about_its_mode(void **state)
{
    struct place place = open_place(state);
    struct stat stat;
    mode_t mask = umask(077);
    int files = open_files();
    for (int how = 0; how < 4; how++) {
        if (how == 0) fail_calls(OPENAT, 0, 1, EMFILE);
        if (how == 1) fail_calls(FSTAT, 0, 1, EIO);
        if (how == 2) fail_calls(FSTAT, 1, 1, EIO);
        if (how == 1 || how == 2) plan.after++; /* whose it is to be is known */
        if (how == 3) plan.other_owner = true; /* somebody else's has been put in its place meanwhile */
        assert_int_equal(io->dir_make(io, place.dir, "made", 0750), 0);
        if (how < 3) all_failed();
        memset(&plan, 0, sizeof plan);
        assert_int_equal(open_files(), files);
        assert_int_equal(fstatat(place.dir, "made", &stat, 0), 0);
        assert_int_equal(stat.st_mode & 0777, 0700);
        assert_int_equal(unlinkat(place.dir, "made", AT_REMOVEDIR), 0);
    }
    assert_int_equal(io->dir_make(io, place.dir, "made", 0750), 0);
    assert_int_equal(fstatat(place.dir, "made", &stat, 0), 0);
    assert_int_equal(stat.st_mode & 0777, 0750);
    assert_int_equal(unlinkat(place.dir, "made", AT_REMOVEDIR), 0);
    umask(mask);
    close_place(&place);
}

static bool exists(const struct place *place, const char *name)
{
    struct stat stat;
    return fstatat(place->dir, name, &stat, AT_SYMLINK_NOFOLLOW) == 0;
}

static int name_but_f(void *context, const char *name)
{
    *(bool *)context = strcmp(name, "f") != 0;
    return *(bool *)context;
}

/* Nothing is in the place but its file. */
static bool is_alone(const struct place *place)
{
    bool more = false;
    assert_int_equal(io->dir_list(io, place->dir, name_but_f, &more), 0);
    return !more;
}

static int make_file(const struct place *place, int *fd)
{
    *fd = -1;
    return io->open(io, place->dir, "made", LQI_OPEN_NEW, 0600, fd);
}

/* ---- giving away -------------------------------------------------------------- */

/* The directory is somebody else's, to whom root gives what he makes in it. */
static struct place open_place_of_another(void **state)
{
    struct place place = open_place(state);
    if (geteuid() != 0) skip();
    assert_int_equal(fchown(place.dir, 65534, 65533), 0);
    return place;
}

static void what_cannot_be_given_away_is_kept(void **state)
{
    static const int answers[] = {EPERM, EACCES, EINVAL, EOPNOTSUPP, ENOSYS};
    struct place place = open_place_of_another(state);
    int fd;

    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        fail_calls(FCHOWN, 0, 3, answers[i]);
        assert_int_equal(make_file(&place, &fd), 0);
        assert_int_equal(io->dir_make(io, place.dir, "directory", 0700), 0);
        assert_int_equal(io->own(io, place.fd, place.dir), 0);
        all_failed();
        io->close(io, fd);
        assert_int_equal(unlinkat(place.dir, "made", 0), 0);
        assert_int_equal(unlinkat(place.dir, "directory", AT_REMOVEDIR), 0);
    }
    close_place(&place);
}

static void giving_away_that_is_interrupted_or_fails(void **state)
{
    struct place place = open_place_of_another(state);
    struct stat there;
    int fd;

    fail_calls(FCHOWN, 0, 2, EINTR);
    assert_int_equal(make_file(&place, &fd), 0);
    all_failed();
    assert_int_equal(fstat(fd, &there), 0);
    assert_true(there.st_uid == 65534 && there.st_gid == 65533);
    io->close(io, fd);
    assert_int_equal(unlinkat(place.dir, "made", 0), 0);

    /* His quota is used up: the file is not made, then. */
    fail_calls(FCHOWN, 0, 3, EDQUOT);
    assert_int_equal(make_file(&place, &fd), EDQUOT);
    assert_int_equal(io->dir_make(io, place.dir, "directory", 0700), EDQUOT);
    assert_int_equal(io->own(io, place.fd, place.dir), EDQUOT);
    all_failed();
    assert_true(is_alone(&place));
    assert_int_equal(fd, -1);

    static const unsigned looks[] = {0, 1, 3, 4}; /* whose it is to be, what was made, and both again to give it; not: its mode */
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        fail_calls(FSTAT, looks[i], 1, EIO);
        assert_int_equal(make_file(&place, &fd), EIO);
        all_failed();
        assert_true(is_alone(&place));
    }
    fail_calls(FSTAT, 0, 1, EIO);
    assert_int_equal(io->dir_make(io, place.dir, "directory", 0700), EIO);
    all_failed();
    for (unsigned after = 0; after < 2; after++) {
        fail_calls(FSTAT, after, 1, EIO);
        assert_int_equal(io->own(io, place.fd, place.dir), EIO);
        all_failed();
    }
    close_place(&place);
}

static mode_t mode_of(int fd)
{
    struct stat stat;
    assert_int_equal(fstat(fd, &stat), 0);
    return stat.st_mode & 07777;
}

static void what_takes_the_place_of_a_file_is_as_open_as_that_was_and_no_more(void **state)
{
    static const mode_t before[] = {0777, 0600, 0644, 04777, 02600}, like[] = {0600, 0646, 0775, 0700, 0604};
    struct place place = open_place(state);
    int other = openat(place.dir, "other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(other >= 0);
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        for (size_t j = 0; j < sizeof like / sizeof *like; j++) {
            assert_int_equal(fchmod(place.fd, before[i]), 0);
            assert_int_equal(fchmod(other, like[j]), 0);
            assert_int_equal(io->own(io, place.fd, other), 0);
            assert_int_equal(mode_of(place.fd), (before[i] & 07000) | like[j]);
        }
    }
    close(other);
    close_place(&place);
}

/* ---- numbers of descriptors ----------------------------------------------- */

static const char *place_path;

/* Standard streams that are closed: 4 for descriptor 2, and so on. What becomes of a file that is opened then? */
static int open_with_closed(void *streams)
{
    int dir = -1, fd = -1;
    for (int stream = 0; stream < 3; stream++)
        if (*(unsigned *)streams & 1u << stream) close(stream);
    if (io->dir_open(io, -1, place_path, &dir) || dir < 3) return 1;
    if (io->open(io, dir, "f", LQI_OPEN_READ, 0, &fd) || fd < 3 || fd == dir) return 2;
    for (int stream = 0; stream < 3; stream++)
        if (*(unsigned *)streams & 1u << stream && fcntl(stream, F_GETFD, NULL) >= 0) return 3;
    static const struct {
        int error, answer;
    } rows[] = {{EINVAL, EMFILE /* none is above 2 */}, {EMFILE, EMFILE}, {ENOMEM, ENOMEM}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fail_calls(FCNTL, 0, 1, rows[i].error);
        if (io->open(io, dir, "f", LQI_OPEN_READ, 0, &fd) != rows[i].answer) return 4;
        if (plan.times) return 5;
    }
    return 0;
}

static void whichever_standard_stream_is_closed_no_file_gets_its_number(void **state)
{
    struct place place = open_place(state);
    place_path = *state;
    for (unsigned streams = 1; streams < 8; streams++) assert_int_equal(child_run(open_with_closed, &streams), 0);
    close_place(&place);
}

/* A directory that is not empty cannot be the one that was just made: somebody has put his own in its place. */
static void a_directory_that_is_not_new_is_not_given_away(void **state)
{
    struct place place = open_place_of_another(state);
    struct stat there;
    assert_int_equal(mkdirat(place.dir, "directory.new", 0700), 0);
    assert_int_equal(mkdirat(place.dir, "directory.new/inner", 0700), 0);
    fail_calls(MKDIRAT, 0, 1, 0); /* as if it were made now */
    plan.not_there = 1;           /* and had not been there before */
    assert_int_equal(io->dir_make(io, place.dir, "directory.new", 0700), 0);
    all_failed();
    assert_int_equal(fstatat(place.dir, "directory.new", &there, 0), 0);
    assert_int_equal(there.st_uid, 0);
    assert_int_equal(unlinkat(place.dir, "directory.new/inner", AT_REMOVEDIR), 0);
    fail_calls(MKDIRAT, 0, 1, 0);
    plan.not_there = 1;
    assert_int_equal(io->dir_make(io, place.dir, "directory.new", 0700), 0);
    all_failed();
    assert_int_equal(fstatat(place.dir, "directory.new", &there, 0), 0);
    assert_int_equal(there.st_uid, 65534);
    close_place(&place);
}

/* ---- all at once -------------------------------------------------------------- */

/* What is there when something gets the name that it is made for. */
static struct {
    const char *name;
    bool directory;
    unsigned seen;
    struct stat then;
} watched;

static void watch_rename(int dir, const char *from, const char *to)
{
    struct stat stat;
    if (!watched.name || strcmp(to, watched.name) != 0) return;
    assert_true(lqi_is_unfinished(from) && strncmp(from, to, strlen(to)) == 0);
    assert_int_equal(fstatat(dir, from, &watched.then, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(fstatat(dir, to, &stat, AT_SYMLINK_NOFOLLOW) != 0);
    watched.seen++;
}

static void make(const struct place *place, bool directory, const char *name, uint32_t mode)
{
    int fd = -1;
    watched.name = name;
    watched.seen = 0;
    plan.at_rename = watch_rename;
    assert_int_equal(directory ? io->dir_make(io, place->dir, name, mode) : io->open(io, place->dir, name, LQI_OPEN_NEW, mode, &fd), 0);
    plan.at_rename = NULL;
    io->close(io, fd);
    assert_true(exists(place, name));
    assert_int_equal(unlinkat(place->dir, name, directory ? AT_REMOVEDIR : 0), 0);
    assert_true(is_alone(place));
}

static void what_others_may_open_has_its_name_when_it_has_its_mode(void **state)
{
    struct place place = open_place(state);
    mode_t mask = umask(077);
    for (int directory = 0; directory < 2; directory++) {
        make(&place, directory, "theirs", 0775);
        assert_int_equal(watched.seen, 1);
        assert_int_equal(watched.then.st_mode & 0777, 0775);
        make(&place, directory, "theirs.new", 0775); /* nobody asks for that */
        assert_int_equal(watched.seen, 0);
        make(&place, directory, "mine", 0700);
        assert_int_equal(watched.seen, 0);
        for (mode_t bit = 1; bit < 0100; bit <<= 1) { /* whatever it would take */
            umask(bit);
            make(&place, directory, "theirs", 0777);
            assert_int_equal(watched.seen, 1);
            assert_int_equal(watched.then.st_mode & 07777, 0777);
        }
        umask(077);
    }
    umask(mask);
    close_place(&place);
}

static void what_is_made_for_somebody_else_has_its_name_when_it_is_his(void **state)
{
    struct place place = open_place_of_another(state);
    for (int directory = 0; directory < 2; directory++) {
        make(&place, directory, "his", 0700);
        assert_int_equal(watched.seen, 1);
        assert_true(watched.then.st_uid == 65534 && watched.then.st_gid == 65533);
    }
    assert_int_equal(fchown(place.dir, 0, 65533), 0); /* root's, of another group */
    make(&place, false, "theirs", 0600);
    assert_int_equal(watched.seen, 1);
    assert_int_equal(watched.then.st_gid, 65533);
    assert_int_equal(fchmod(place.dir, 02700), 0); /* the group comes by itself */
    make(&place, false, "theirs", 0600);
    assert_int_equal(watched.seen, 0);
    close_place(&place);
}

static void making_that_fails_leaves_nothing(void **state)
{
    static const struct { enum call call; int error; } failures[] = {{GETRANDOM, EAGAIN}, {OPENAT, EMFILE}, {MKDIRAT, ENOSPC}, {SYSCALL, EIO}};
    struct place place = open_place(state);
    char longest[NAME_MAX + 1];
    int fd = -1;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        if (failures[i].call != MKDIRAT) {
            fail_calls(failures[i].call, 0, 1, failures[i].error);
            assert_int_equal(io->open(io, place.dir, "theirs", LQI_OPEN_NEW, 0666, &fd), failures[i].error);
            all_failed();
            assert_int_equal(fd, -1);
        }
        assert_true(is_alone(&place));
        if (failures[i].call == OPENAT) continue; /* it is made, whether its mode can be seen to or not */
        fail_calls(failures[i].call, 0, 1, failures[i].error);
        assert_int_equal(io->dir_make(io, place.dir, "theirs", 0777), failures[i].error);
        all_failed();
        assert_true(is_alone(&place));
    }
    memset(longest, 'n', NAME_MAX); /* there is no room for more in the name */
    longest[NAME_MAX] = 0;
    assert_int_equal(io->open(io, place.dir, longest, LQI_OPEN_NEW, 0666, &fd), ENAMETOOLONG);
    assert_int_equal(io->dir_make(io, place.dir, longest, 0777), ENAMETOOLONG);
    assert_int_equal(io->dir_make(io, place.dir, longest, 0700), 0);
    assert_int_equal(unlinkat(place.dir, longest, AT_REMOVEDIR), 0);
    longest[NAME_MAX - 21] = 0;
    make(&place, false, longest, 0666);
    assert_int_equal(watched.seen, 1);
    close_place(&place);
}

/* Another one has made it meanwhile, and may have opened it: that is the one which stays. */
static void who_was_faster_has_made_it(void **state)
{
    struct place place = open_place(state);
    struct stat before, after;
    int fd = -1;
    assert_int_equal(mkdirat(place.dir, "d", 0700), 0);
    assert_int_equal(fstatat(place.dir, "d", &before, 0), 0);
    for (int meanwhile = 0; meanwhile < 2; meanwhile++) {
        plan.not_there = (unsigned)meanwhile;
        assert_int_equal(io->dir_make(io, place.dir, "d", 0777), EEXIST);
        assert_int_equal(plan.not_there, 0);
        assert_int_equal(fstatat(place.dir, "d", &after, 0), 0);
        assert_true(before.st_ino == after.st_ino);
    }
    fail_calls(SYSCALL, 0, 1, ENOSYS); /* nor where nothing can be refused */
    plan.not_there = 1;
    assert_int_equal(io->dir_make(io, place.dir, "d", 0777), EEXIST);
    all_failed();
    assert_int_equal(fstatat(place.dir, "d", &after, 0), 0);
    assert_true(before.st_ino == after.st_ino);
    assert_int_equal(unlinkat(place.dir, "d", AT_REMOVEDIR), 0);
    assert_int_equal(io->open(io, place.dir, "f", LQI_OPEN_NEW, 0666, &fd), EEXIST);
    assert_true(is_alone(&place));
    close_place(&place);
}

static void without_the_system_call_a_directory_is_made_under_its_name(void **state)
{
    static const int answers[] = {ENOSYS, EINVAL};
    struct place place = open_place(state);
    struct stat there;
    mode_t mask = umask(077);
    for (size_t i = 0; i < 2; i++) {
        fail_calls(SYSCALL, 0, 1, answers[i]);
        assert_int_equal(io->dir_make(io, place.dir, "d", 0775), 0);
        all_failed();
        assert_int_equal(fstatat(place.dir, "d", &there, 0), 0);
        assert_int_equal(there.st_mode & 0777, 0775);
        assert_int_equal(unlinkat(place.dir, "d", AT_REMOVEDIR), 0);
        assert_true(is_alone(&place));
    }
    umask(mask);
    close_place(&place);
}

/* ---- renaming ----------------------------------------------------------------- */

/* renameat2() is not there: the file gets its new name before it loses the old one. */
static void without_the_system_call_a_rename_takes_two_steps_and_replaces_nothing(void **state)
{
    struct place place = open_place(state);
    static const int answers[] = {ENOSYS, EINVAL};

    for (size_t i = 0; i < 2; i++) {
        fail_calls(SYSCALL, 0, 1, answers[i]);
        assert_int_equal(io->rename(io, place.dir, "f", "g", false), 0);
        all_failed();
        assert_true(exists(&place, "g") && !exists(&place, "f"));
        assert_int_equal(renameat(place.dir, "g", place.dir, "f"), 0);
    }
    fail_calls(SYSCALL, 0, 1, ENOSYS);
    and_then_fail(LINKAT, EINTR);
    assert_int_equal(io->rename(io, place.dir, "f", "g", false), 0);
    all_failed();
    assert_int_equal(renameat(place.dir, "g", place.dir, "f"), 0);

    int other = -1;
    assert_int_equal(io->open(io, place.dir, "other", LQI_OPEN_NEW, 0600, &other), 0);
    fail_calls(SYSCALL, 0, 1, ENOSYS);
    assert_int_equal(io->rename(io, place.dir, "f", "other", false), EEXIST);
    assert_int_equal(io->rename(io, place.dir, "missing", "new", false), ENOENT);
    all_failed();
    assert_true(exists(&place, "f"));
    io->close(io, other);
    close_place(&place);
}

static void a_rename_in_two_steps_may_fail_in_each_and_be_finished_later(void **state)
{
    struct place place = open_place(state);

    /* Died between the two steps: both names are there. */
    assert_int_equal(linkat(place.dir, "f", place.dir, "g", 0), 0);
    fail_calls(SYSCALL, 0, 1, ENOSYS);
    assert_int_equal(io->rename(io, place.dir, "f", "g", false), 0);
    all_failed();
    assert_true(exists(&place, "g") && !exists(&place, "f"));
    assert_int_equal(renameat(place.dir, "g", place.dir, "f"), 0);

    /* The second step fails, and is taken the next time. */
    fail_calls(SYSCALL, 0, 1, ENOSYS);
    and_then_fail(UNLINKAT, EIO);
    assert_int_equal(io->rename(io, place.dir, "f", "g", false), EIO);
    all_failed();
    assert_true(exists(&place, "g") && exists(&place, "f"));
    for (unsigned look = 0; look < 2; look++) { /* whether they are one file cannot be seen */
        fail_calls(SYSCALL, 0, 1, ENOSYS);
        and_then_fail(FSTATAT, EIO);
        plan.then_after = look;
        assert_int_equal(io->rename(io, place.dir, "f", "g", false), EIO);
        all_failed();
    }
    fail_calls(SYSCALL, 0, 1, ENOSYS);
    plan.other_device = 2; /* one of them lies under another mount */
    assert_int_equal(io->rename(io, place.dir, "f", "g", false), EEXIST);
    all_failed();
    fail_calls(SYSCALL, 0, 1, ENOSYS);
    assert_int_equal(io->rename(io, place.dir, "f", "g", false), 0);
    all_failed();
    assert_true(exists(&place, "g") && !exists(&place, "f"));
    close_place(&place);
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(whether_copies_can_be_declined_does_not_matter),
        IN_SCRATCH(a_directory_is_made_though_nothing_can_be_done_about_its_mode),
        IN_SCRATCH(what_cannot_be_given_away_is_kept),
        IN_SCRATCH(giving_away_that_is_interrupted_or_fails),
        IN_SCRATCH(what_takes_the_place_of_a_file_is_as_open_as_that_was_and_no_more),
        IN_SCRATCH(whichever_standard_stream_is_closed_no_file_gets_its_number),
        IN_SCRATCH(a_directory_that_is_not_new_is_not_given_away),
        IN_SCRATCH(what_others_may_open_has_its_name_when_it_has_its_mode),
        IN_SCRATCH(what_is_made_for_somebody_else_has_its_name_when_it_is_his),
        IN_SCRATCH(making_that_fails_leaves_nothing),
        IN_SCRATCH(who_was_faster_has_made_it),
        IN_SCRATCH(without_the_system_call_a_directory_is_made_under_its_name),
        IN_SCRATCH(without_the_system_call_a_rename_takes_two_steps_and_replaces_nothing),
        IN_SCRATCH(a_rename_in_two_steps_may_fail_in_each_and_be_finished_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
