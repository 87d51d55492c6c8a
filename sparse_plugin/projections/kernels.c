/* The projections onto L0,inf and L0 balls, and their gradient, on floats seen as integers.
 *
 * The magnitude of a float orders as its bits without the sign do, so no arithmetic on floats happens here: what is kept
 * keeps its bits, and a rounding mode changes nothing. A NaN of any payload counts as `inf + 1`, above everything and
 * equal to every other NaN. Portable C with the vector extensions that GCC and Clang share; no intrinsics.
 *
 * The algorithms are in needles.c, samples.c and mask.c, which are included once per width of float: fp16 and bf16 differ in
 * where infinity is only, which the caller says.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

/* What one parallel section runs: `work(context, thread)` on every thread, which share out the work among themselves with
 * `next`, so that any number of threads finishes it. */
typedef struct {
    void (*work)(void *context, int thread);
    void *context;
    int arrived;
} section;

/* GOMP_parallel of the OpenMP runtime that torch itself uses, where there is one: its threads are awake already, and a
 * second pool would compete with them. */
typedef void (*team)(void (*)(void *), void *, unsigned, unsigned);

static void enter(void *argument) {
    section *s = argument;
    s->work(s->context, __atomic_fetch_add(&s->arrived, 1, __ATOMIC_RELAXED));
}

static void *enter_thread(void *argument) {
    enter(argument);
    return NULL;
}

#define MAX_THREADS 256

static void parallel(void (*work)(void *, int), void *context, int threads, team run) {
    section s = {work, context, 0};
    if (threads <= 1) {
        enter(&s);
    } else if (run) {
        run(enter, &s, (unsigned)threads, 0);
    } else {
        pthread_t others[MAX_THREADS];
        int started = 0;
        while (started < threads - 1 && !pthread_create(&others[started], NULL, enter_thread, &s)) started++;
        enter(&s);
        for (int i = 0; i < started; i++) pthread_join(others[i], NULL);
    }
}

INLINE int64_t next(int64_t *counter) { return __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

#define WIDTH 16
#define INT int16_t
#define UINT uint16_t
#include "search.c"
#include "needles.c"
#include "samples.c"
#include "mask.c"
#undef WIDTH
#undef INT
#undef UINT

#define WIDTH 32
#define INT int32_t
#define UINT uint32_t
#include "search.c"
#include "needles.c"
#include "samples.c"
#include "mask.c"
#undef WIDTH
#undef INT
#undef UINT

#define WIDTH 64
#define INT int64_t
#define UINT uint64_t
#include "search.c"
#include "needles.c"
#include "samples.c"
#include "mask.c"
#undef WIDTH
#undef INT
#undef UINT
