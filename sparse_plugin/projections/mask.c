/* The gradient of both projections, grad * (projected != 0), in one pass. Included once per width of float. */
#define MASK JOIN(mask, WIDTH)
#define MASK_JOB JOIN(mask_job, WIDTH)
#define MASK_WORK JOIN(mask_work, WIDTH)
#define GRAIN 16384

typedef struct {
    const INT *grad, *projected;
    INT *out;
    int64_t size, counter;
} MASK_JOB;

static void MASK_WORK(void *context, int thread) {
    MASK_JOB *job = context;
    (void)thread;
    for (int64_t begin; (begin = next(&job->counter) * GRAIN) < job->size;) {
        const INT *restrict grad = job->grad + begin, *restrict projected = job->projected + begin;
        INT *restrict out = job->out + begin;
        int64_t n = MIN(GRAIN, job->size - begin);
        for (int64_t i = 0; i < n; i++) out[i] = (INT)((INT)((UINT)projected[i] << 1) != 0 ? grad[i] : 0);
    }
}

EXPORT int MASK(const void *grad, const void *projected, void *out, int64_t size, int threads, team run) {
    MASK_JOB job = {grad, projected, out, size, 0};
    parallel(MASK_WORK, &job, (int)MIN(MIN(threads, MAX_THREADS), (size + GRAIN - 1) / GRAIN), run);
    return 0;
}
#undef MASK
#undef MASK_JOB
#undef MASK_WORK
