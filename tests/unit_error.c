/* Codes have names, sentences and, when something fails, a text in the thread it failed in. */
#include "error.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void every_code_has_its_own_name_and_sentence(void **state)
{
    (void)state;
    for (int code = LQ_EUNSUPPORTED; code <= LQ_TIMEOUT; code++) {
        assert_string_not_equal(lq_error_name(code), "LQ_?");
        assert_string_not_equal(lq_strerror(code), "unknown code");
        for (int other = LQ_EUNSUPPORTED; other < code; other++) {
            assert_string_not_equal(lq_error_name(code), lq_error_name(other));
            assert_string_not_equal(lq_strerror(code), lq_strerror(other));
        }
    }
    assert_string_equal(lq_error_name(LQ_OK), "LQ_OK");
    assert_string_equal(lq_error_name(LQ_ENOSPC), "LQ_ENOSPC");
    assert_string_equal(lq_error_name(LQ_EUNSUPPORTED), "LQ_EUNSUPPORTED");
}

static void what_is_no_code_says_so(void **state)
{
    (void)state;
    static const int codes[] = {LQ_EUNSUPPORTED - 1, LQ_TIMEOUT + 1, INT32_MIN, INT32_MAX};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        assert_string_equal(lq_error_name(codes[i]), "LQ_?");
        assert_string_equal(lq_strerror(codes[i]), "unknown code");
    }
}

static void the_version_is_the_one_in_the_header(void **state)
{
    (void)state;
    char version[32];

    snprintf(version, sizeof version, "%d.%d.%d", LQ_VERSION_MAJOR, LQ_VERSION_MINOR, LQ_VERSION_PATCH);
    assert_string_equal(lq_version(), version);
    assert_string_equal(lq_version(), LQ_VERSION);
}

static void a_failure_leaves_its_text_and_gives_its_code(void **state)
{
    (void)state;
    assert_int_equal(lqi_fail(LQ_ECORRUPT, "%s at byte %d", "log/x", 17), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "log/x at byte 17");
    assert_int_equal(lqi_fail(LQ_EINVAL, "shorter"), LQ_EINVAL);
    assert_string_equal(lq_error_text(), "shorter");
}

static void a_text_may_quote_the_one_before(void **state)
{
    (void)state;
    lqi_fail(LQ_EIO, "the cause");
    lqi_fail(LQ_EIO, "while opening: %s", lq_error_text());
    assert_string_equal(lq_error_text(), "while opening: the cause");
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    char text[2 * LQI_TEXT_MAX];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    lqi_fail(LQ_EIO, "%s", text);
    assert_int_equal(strlen(lq_error_text()), LQI_TEXT_MAX - 1);
}

static void a_text_that_was_kept_takes_the_place_of_a_later_one(void **state)
{
    (void)state;
    char text[LQI_TEXT_MAX];

    memset(text, 'x', sizeof text - 1); /* whole, however long */
    text[sizeof text - 1] = 0;
    lqi_fail(LQ_EIO, "%s", text);
    struct lqi_text kept = lqi_text_keep();
    lqi_fail(LQ_EIO, "of what nobody is told");
    lqi_text_put_back(&kept);
    assert_string_equal(lq_error_text(), text);
}

static void *fail_in_another_thread(void *context)
{
    *(int *)context = strcmp(lq_error_text(), ""); /* nothing has failed here */
    lqi_fail(LQ_EIO, "theirs");
    return NULL;
}

static void each_thread_has_its_own_text(void **state)
{
    (void)state;
    pthread_t thread;
    int text_before = 77;

    lqi_fail(LQ_EIO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, fail_in_another_thread, &text_before), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(text_before, 0);
    assert_string_equal(lq_error_text(), "mine");
}

static void errnos_become_the_codes_that_users_can_act_upon(void **state)
{
    (void)state;
    static const struct {
        int error, code;
    } cases[] = {
        {ENOSPC, LQ_ENOSPC}, {EDQUOT, LQ_ENOSPC}, {EFBIG, LQ_ENOSPC}, {EMFILE, LQ_ELIMIT}, {ENFILE, LQ_ELIMIT},
        {EACCES, LQ_EACCESS}, {EPERM, LQ_EACCESS}, {ENOENT, LQ_ENOTFOUND}, {EROFS, LQ_EREADONLY}, {ENOMEM, LQ_ENOMEM},
        {ENOTDIR, LQ_ENOTQUEUE}, {EISDIR, LQ_ENOTQUEUE}, {ELOOP, LQ_ENOTQUEUE}, {EOPNOTSUPP, LQ_EUNSUPPORTED},
        {ENOSYS, LQ_EUNSUPPORTED}, {EIO, LQ_EIO}, {EBADF, LQ_EIO}, {12345, LQ_EIO},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(lqi_code_of_errno(cases[i].error), cases[i].code);
        assert_int_equal(lqi_fail_errno(cases[i].error, "do", "it", -1), cases[i].code);
    }
}

static void a_failed_call_is_told_with_file_byte_and_reason(void **state)
{
    (void)state;
    lqi_fail_errno(EIO, "read", "log/1.seg", 4096);
    assert_string_equal(lq_error_text(), "read log/1.seg at byte 4096: Input/output error");
    lqi_fail_errno(ENOSPC, "sync", "meta", -1);
    assert_string_equal(lq_error_text(), "sync meta: No space left on device");
    lqi_fail_errno(ENOSPC, "write", "meta", INT64_MAX);
    assert_string_equal(lq_error_text(), "write meta at byte 9223372036854775807: No space left on device");
    lqi_fail_errno(12345, "open", "it", 0);
    assert_string_equal(lq_error_text(), "open it at byte 0: Unknown error 12345");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_own_name_and_sentence),
        cmocka_unit_test(what_is_no_code_says_so),
        cmocka_unit_test(the_version_is_the_one_in_the_header),
        cmocka_unit_test(a_failure_leaves_its_text_and_gives_its_code),
        cmocka_unit_test(a_text_may_quote_the_one_before),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(a_text_that_was_kept_takes_the_place_of_a_later_one),
        cmocka_unit_test(each_thread_has_its_own_text),
        cmocka_unit_test(errnos_become_the_codes_that_users_can_act_upon),
        cmocka_unit_test(a_failed_call_is_told_with_file_byte_and_reason),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
