/* Running a command for a message. */
#include "child.h"

#include "human.h"
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void set_number(const char *name, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, value);
    setenv(name, text, 1);
}

/* Set in our own environment, which the child gets: nobody else reads it. */
static void set_environment(const char *queue, const char *consumer, const lq_message *message)
{
    char *key = NULL;

    setenv("LQ_QUEUE", queue, 1);
    setenv("LQ_CONSUMER", consumer, 1);
    setenv("LQ_TIME", human_rfc3339(message->time_us).text, 1);
    set_number("LQ_ID", message->id);
    set_number("LQ_ATTEMPTS", message->attempts);
    set_number("LQ_SIZE", message->size);
    unsetenv("LQ_KEY");
    if (message->key_size && !memchr(message->key, '\0', message->key_size))
        key = strndup(message->key, message->key_size);
    if (key) setenv("LQ_KEY", key, 1);
    free(key);
}

static int start(char *const argv[], int stdin_fd, pid_t *pid_out)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    int error;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, stdin_fd, STDIN_FILENO);
    posix_spawnattr_init(&attributes);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE); /* which we ignore, and an ignored signal is inherited */
    sigaddset(&defaults, SIGXFSZ);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    error = posix_spawnp(pid_out, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Passes a stop on, once. */
static void pass_on(pid_t pid, bool *passed)
{
    if (!stop_asked() || *passed) return;
    kill(pid, stop_asked());
    *passed = true;
}

/* Writes the body. A child that does not read it all is within its rights. */
static void write_body(int fd, pid_t pid, const lq_message *message, bool *passed)
{
    const char *bytes = message->data;
    size_t left = message->size;

    while (left > 0) {
        struct pollfd writable = {.fd = fd, .events = POLLOUT};
        ssize_t written;

        pass_on(pid, passed);
        if (poll(&writable, 1, STOP_SLICE_MS) <= 0) continue;
        written = write(fd, bytes, left);
        if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (written < 0) return;
        bytes += written;
        left -= (size_t)written;
    }
}

static void on_child(int signal_number)
{
    (void)signal_number; /* it is there to end ppoll() */
}

static int wait_for(pid_t pid, bool *passed)
{
    struct sigaction action = {.sa_handler = on_child}, old_action;
    sigset_t blocked, old_mask;
    int status;

    /* Looked at with the signals blocked and slept with them open, in one step:
     * none can come between the look and the sleep. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGHUP);
    sigprocmask(SIG_BLOCK, &blocked, &old_mask);
    sigaction(SIGCHLD, &action, &old_action);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        pass_on(pid, passed);
        ppoll(NULL, 0, NULL, &old_mask);
    }
    sigaction(SIGCHLD, &old_action, NULL);
    sigprocmask(SIG_SETMASK, &old_mask, NULL);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int child_run(char *const argv[], const char *queue, const char *consumer, const lq_message *message)
{
    bool passed = false;
    int pipe_fd[2], error;
    pid_t pid;

    if (pipe2(pipe_fd, O_CLOEXEC) != 0) return -1;
    set_environment(queue, consumer, message);
    error = start(argv, pipe_fd[0], &pid);
    close(pipe_fd[0]);
    if (!error) {
        fcntl(pipe_fd[1], F_SETFL, O_NONBLOCK);
        write_body(pipe_fd[1], pid, message, &passed);
    }
    close(pipe_fd[1]);
    if (error) {
        errno = error;
        return -1;
    }
    return wait_for(pid, &passed);
}
