/* Workers: three processes share out the jobs between them. One that dies in the middle of
 * a job costs nothing: the job goes to another. */
#include <libqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int code)
{
    if (code == LQ_OK) return;
    fprintf(stderr, "%s: %s\n", lq_error_name(code), lq_error_text());
    exit(1);
}

static void work(int number)
{
    lq_queue *jobs;
    lq_consumer *workers;
    lq_message job;

    must(lq_open("jobs", NULL, &jobs));
    must(lq_consumer_open(jobs, "workers", NULL, &workers)); /* the same name: they share */
    while (lq_get(workers, &job, 500) == LQ_OK) {
        if (number == 0 && job.id > 5) raise(SIGKILL); /* an accident */
        printf("worker %d: %.*s%s\n", number, (int)job.size, (const char *)job.data, job.attempts > 1 ? ", again" : "");
        fflush(stdout);
        usleep(2000);
        must(lq_ack(workers, &job));
    }
    must(lq_consumer_close(workers));
    must(lq_close(jobs));
}

int main(void)
{
    lq_queue *jobs;
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) { /* before anything is opened: a handle does not survive a fork */
            work(i);
            return 0;
        }
    }
    must(lq_open("jobs", NULL, &jobs));
    for (int i = 1; i <= 30; i++) {
        char text[20];
        must(lq_put(jobs, text, (size_t)snprintf(text, sizeof text, "job %d", i), NULL));
    }
    while (wait(NULL) > 0) {}

    lq_consumer_stats left = {.size = sizeof left};
    must(lq_get_consumer_stats(jobs, "workers", &left));
    printf("%llu of 30 done\n", (unsigned long long)left.floor);
    must(lq_close(jobs));
    return left.floor != 30;
}
