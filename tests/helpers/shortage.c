/* A shortage of processes. Preloaded, it lets fork, vfork and posix_spawn fail with EAGAIN while the file SHORTAGE exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

static int is_short(void) {
    const char *path = getenv("SHORTAGE");
    return path && !access(path, F_OK);
}

static pid_t fork_unless_short(void) {
    static pid_t (*real)(void);
    if (is_short()) {
        errno = EAGAIN;
        return -1;
    }
    if (!real)
        real = dlsym(RTLD_NEXT, "fork");
    return real();
}

pid_t fork(void) { return fork_unless_short(); }

pid_t vfork(void) { return fork_unless_short(); }

typedef int spawner(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[],
                    char *const[]);

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                char *const argv[], char *const environment[]) {
    static spawner *real;
    if (is_short())
        return EAGAIN;
    if (!real)
        real = (spawner *)dlsym(RTLD_NEXT, "posix_spawn");
    return real(pid, path, actions, attributes, argv, environment);
}
