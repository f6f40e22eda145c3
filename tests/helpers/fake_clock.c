/* Fake clocks for the processes of a test. Preloaded, it adds the numbers in the file FAKE_CLOCK to the kernel's clocks.
   They are two 64-bit numbers of milliseconds: the step of the wall clock, and the time that the machine was suspended. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offsets;

static void __attribute__((constructor)) find(void) {
    const char *path = getenv("FAKE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *found = mmap(0, 2 * sizeof *offsets, PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED)
        offsets = found;
    close(file);
}

static void add(struct timespec *time, int64_t milliseconds) {
    int64_t nanoseconds = time->tv_nsec + milliseconds % 1000 * 1000000;
    time->tv_sec += milliseconds / 1000 + nanoseconds / 1000000000;
    time->tv_nsec = nanoseconds % 1000000000;
    if (time->tv_nsec < 0) {
        time->tv_nsec += 1000000000;
        time->tv_sec--;
    }
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && offsets && clock == CLOCK_REALTIME)
        add(time, offsets[0] + offsets[1]);
    if (!failed && offsets && clock == CLOCK_BOOTTIME)
        add(time, offsets[1]);
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    time->tv_sec = precise.tv_sec;
    time->tv_usec = precise.tv_nsec / 1000;
    return failed;
}
