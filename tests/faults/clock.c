/* A wall clock that jumps, for the fault campaign: preloaded, it adds the seconds in the file named by JUMPING_CLOCK
 * (one native double, mapped, so a jump is seen at once by every process) to CLOCK_REALTIME. The monotonic clock, by
 * which timeouts are measured, stays as it is: so it is on a machine whose wall clock is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile double *jump;

__attribute__((constructor)) static void map_jump(void) {
    const char *path = getenv("JUMPING_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *place = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (place != MAP_FAILED) jump = place;
}

static void add(struct timespec *when, double seconds) {
    double whole = floor(seconds);
    when->tv_sec += (time_t)whole;
    when->tv_nsec += (long)((seconds - whole) * 1e9);
    if (when->tv_nsec >= 1000000000L) { when->tv_sec++; when->tv_nsec -= 1000000000L; }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (!result && clock == CLOCK_REALTIME && jump) add(now, *jump);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}

/* A deadline reckoned by the clock above, awaited by the kernel's. */
int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) real = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec until = *deadline;
    if (jump) add(&until, -*jump);
    return real(semaphore, &until);
}
