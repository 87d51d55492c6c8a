/* Keep the k largest magnitudes of every sample. Included once per width of float.
 *
 * The output doubles as scratch memory until it is written:
 *   1. some entries drawn from the sample bracket the threshold between two magnitudes;
 *   2. one pass counts the keys above the bracket and collects those inside, a few per cent;
 *   3. a radix selection among those finds the threshold (a bracket that missed it is redone as "everything");
 *   4. one pass writes, and where more keys equal the threshold than may stay, another drops the last ones.
 * Samples are shared out among the threads, or where there are too few of them the spans of a sample.
 */
#define SAMPLES JOIN(samples, WIDTH)
#define JOB JOIN(samples_job, WIDTH)
#define SAMPLE JOIN(sample, WIDTH)
#define SPAN JOIN(span, WIDTH)
#define KEY JOIN(key, WIDTH)
#define SELECT JOIN(select, WIDTH)
#define BRACKET JOIN(bracket, WIDTH)
#define COLLECT JOIN(collect, WIDTH)
#define SETTLE JOIN(settle, WIDTH)
#define WRITE JOIN(write, WIDTH)
#define DROP JOIN(drop, WIDTH)
#define WHOLE_SAMPLES JOIN(whole_samples, WIDTH)
#define COLLECT_SPANS JOIN(collect_spans, WIDTH)
#define WRITE_SPANS JOIN(write_spans, WIDTH)
#define MAGNITUDE ((INT)(((uint64_t)1 << (WIDTH - 1)) - 1))
#define BLOCK 4096 /* entries that are counted and then collected, so that they are read from memory once */
#define SMALL 2048 /* entries up to which a bracket costs more than it saves */
#define SPANS 1024 /* pieces of one sample, at most */

typedef struct {
    const INT *gamma;
    INT *out;
    int64_t size, rows, columns, k;
    INT nan;
    INT lo, hi;                         /* the bracket: keys in (lo, hi] are collected, those equal to lo only counted */
    int64_t above, equal, inside;       /* counts of keys > hi, == lo, and in between */
    INT threshold;
    int64_t level, room;                /* how many keys equal the threshold, and how many of them stay */
} SAMPLE;

typedef struct {
    int64_t above, equal, inside;
    int drop;
} SPAN;

typedef struct {
    const SAMPLE *first;                /* every sample has its fields, but for where it is */
    SAMPLE *shared;                     /* the sample whose spans are being shared out */
    SPAN *spans;
    int64_t count, pieces, counter;
} JOB;

INLINE INT KEY(INT bits, INT nan) {
    INT key = bits & MAGNITUDE;
    return MIN(key, nan);
}

/* The rank-th largest (from 1) of n keys, which it destroys, in time linear in n whatever they are. On return n is how many
 * keys equal it and rank how many of those are among the first. The digits begin where the keys begin to differ. */
static INT SELECT(INT *keys, int64_t *n, int64_t *rank) {
    INT low = keys[0], high = keys[0];
    for (int64_t i = 0; i < *n; i++) low = MIN(low, keys[i]), high = MAX(high, keys[i]);
    if (low == high) return low;
    int shift = MAX(0, 64 - __builtin_clzll((unsigned long long)(high - low)) - 8);
    for (;; shift = MAX(0, shift - 8)) {
        int64_t count[256] = {0}, kept = 0;
        int digit = 255;
        for (int64_t i = 0; i < *n; i++) count[((keys[i] - low) >> shift) & 255]++;
        while (count[digit] < *rank) *rank -= count[digit--];
        for (int64_t i = 0; i < *n; i++) {
            INT key = keys[i];
            keys[kept] = key;
            kept += (((key - low) >> shift) & 255) == digit;
        }
        *n = kept;
        if (shift == 0 || kept == 1) return keys[0];
    }
}

static void BRACKET(SAMPLE *s) {
    s->lo = 0;
    s->hi = s->nan;
    if (s->size <= SMALL) return;
    int64_t drawn = 256;
    while (drawn * drawn * drawn < 4 * s->size * s->size) drawn *= 2; /* about 2 size^(2/3): where the costs balance */
    drawn = MIN(drawn, s->size / 4);
    int64_t stride = s->size / drawn;
    uint64_t random = 1; /* within a stride, so that no pattern in Γ lines up with it */
    for (int64_t i = 0; i < drawn; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        s->out[i] = KEY(s->gamma[i * stride + (int64_t)((random >> 32) * (uint64_t)stride >> 32)], s->nan);
    }
    int64_t rank = (int64_t)((double)s->k / (double)s->size * (double)drawn), margin = 4;
    double variance = (double)rank * (1 - (double)rank / (double)drawn);
    while ((double)((margin - 4) * (margin - 4)) < 16 * variance) margin++; /* four deviations, and four for the tails */
    int64_t low = rank + margin, high = rank - margin, n = drawn;
    memcpy(s->out + drawn, s->out, (size_t)drawn * sizeof(INT));
    if (low <= drawn) s->lo = SELECT(s->out, &n, &low);
    n = drawn;
    if (high >= 1) s->hi = SELECT(s->out + drawn, &n, &high);
}

/* Count the keys of [begin, end) against the bracket, and put those inside it at `found`, which is at or before `begin`. */
static SPAN COLLECT(const SAMPLE *s, int64_t begin, int64_t end, INT *found) {
    SPAN span = {0, 0, 0, 0};
    INT lo = s->lo, hi = s->hi, nan = s->nan;
    /* This loop is bound by its instructions, so it leaves NaN as it is and caps it below, where little is left of it. */
    INT top = hi == nan && lo < nan ? MAGNITUDE : hi;
    UINT first = (UINT)(lo + 1), width = (UINT)(top - lo);
    for (int64_t start = begin; start < end; start += BLOCK) {
        const INT *gamma = s->gamma + start;
        int n = (int)MIN(BLOCK, end - start), above = 0, equal = 0;
        for (int i = 0; i < n; i++) {
            INT key = KEY(gamma[i], nan);
            above += key > hi;
            equal += key == lo;
        }
        for (int i = 0; i < n; i++) {
            UINT key = (UINT)(gamma[i] & MAGNITUDE);
            found[span.inside] = (INT)key;
            span.inside += (UINT)(key - first) < width;
        }
        span.above += above;
        span.equal += equal;
    }
    if (top > nan)
        for (int64_t i = 0; i < span.inside; i++) found[i] = MIN(found[i], nan);
    return span;
}

/* The threshold from the counts and the keys inside the bracket, at the start of the output; 0 when the bracket missed it. */
static int SETTLE(SAMPLE *s) {
    int64_t rank = s->k - s->above;
    if (rank < 1 || rank > s->inside + s->equal) return 0;
    if (rank > s->inside) {
        s->threshold = s->lo;
        s->level = s->equal;
        s->room = rank - s->inside;
    } else {
        s->level = s->inside;
        s->room = rank;
        s->threshold = SELECT(s->out, &s->level, &s->room);
    }
    return 1;
}

/* Write [begin, end); returns whether an entry at the threshold may have to be dropped: not the zeros after a ReLU. */
static int WRITE(const SAMPLE *s, int64_t begin, int64_t end) {
    const INT *gamma = s->gamma;
    INT *out = s->out, t = s->threshold, negative = 0;
    if (t > 0) {
        for (int64_t i = begin; i < end; i++) out[i] = (INT)((gamma[i] & MAGNITUDE) >= t ? gamma[i] : 0);
        return 1;
    }
    for (int64_t i = begin; i < end; i++) {
        out[i] = gamma[i];
        negative |= (INT)-(gamma[i] == (INT)~MAGNITUDE);
    }
    return negative != 0;
}

/* Zero the entries at the threshold for which there is no room, the last ones in the order of the logical index: that of
 * memory, or with channels last column by column. */
static void DROP(const SAMPLE *s) {
    int64_t room = s->room;
    for (int64_t c = 0; c < s->columns; c++)
        for (int64_t r = 0; r < s->rows; r++) {
            int64_t i = r * s->columns + c;
            int equal = KEY(s->gamma[i], s->nan) == s->threshold;
            if (equal && room <= 0) s->out[i] = 0;
            room -= equal;
        }
}

static void WHOLE_SAMPLES(void *context, int thread) {
    JOB *job = context;
    (void)thread;
    for (int64_t i; (i = next(&job->counter)) < job->count;) {
        SAMPLE s = *job->first;
        s.gamma += i * s.size;
        s.out += i * s.size;
        BRACKET(&s);
        for (;;) {
            SPAN found = COLLECT(&s, 0, s.size, s.out);
            s.above = found.above, s.equal = found.equal, s.inside = found.inside;
            if (SETTLE(&s)) break;
            s.lo = 0, s.hi = s.nan;
        }
        if (WRITE(&s, 0, s.size) && s.level > s.room) DROP(&s);
    }
}

static void COLLECT_SPANS(void *context, int thread) {
    JOB *job = context;
    SAMPLE *s = job->shared;
    (void)thread;
    for (int64_t i; (i = next(&job->counter)) < job->pieces;) {
        int64_t begin = i * s->size / job->pieces, end = (i + 1) * s->size / job->pieces;
        job->spans[i] = COLLECT(s, begin, end, s->out + begin);
    }
}

static void WRITE_SPANS(void *context, int thread) {
    JOB *job = context;
    SAMPLE *s = job->shared;
    (void)thread;
    for (int64_t i; (i = next(&job->counter)) < job->pieces;)
        job->spans[i].drop = WRITE(s, i * s->size / job->pieces, (i + 1) * s->size / job->pieces);
}

/* Γ is `count` samples of rows x columns entries in memory, and an entry's logical index is column * rows + row; `inf` is
 * the bits of infinity; 1 <= k < rows * columns. */
EXPORT int SAMPLES(const void *gamma, void *out, int64_t count, int64_t rows, int64_t columns, int64_t k, int64_t inf,
                   int threads, team run) {
    SAMPLE s = {.gamma = gamma, .out = out, .size = rows * columns, .rows = rows, .columns = columns, .k = k};
    SPAN spans[SPANS];
    JOB job = {&s, &s, spans, count, MIN(8 * (int64_t)threads, SPANS), 0};
    s.nan = (INT)(inf + 1);
    threads = MIN(threads, MAX_THREADS);
    if (count >= 4 * threads || s.size < 8 * BLOCK) {
        parallel(WHOLE_SAMPLES, &job, (int)MIN(threads, count), run);
        return 0;
    }
    for (int64_t i = 0; i < count; i++, s.gamma += s.size, s.out += s.size) {
        BRACKET(&s);
        for (;;) {
            job.counter = s.above = s.equal = s.inside = 0;
            parallel(COLLECT_SPANS, &job, threads, run);
            for (int64_t j = 0; j < job.pieces; j++) {
                memmove(s.out + s.inside, s.out + j * s.size / job.pieces, (size_t)spans[j].inside * sizeof(INT));
                s.above += spans[j].above, s.equal += spans[j].equal, s.inside += spans[j].inside;
            }
            if (SETTLE(&s)) break;
            s.lo = 0, s.hi = s.nan;
        }
        int drop = 0;
        job.counter = 0;
        parallel(WRITE_SPANS, &job, threads, run);
        for (int64_t j = 0; j < job.pieces; j++) drop |= spans[j].drop;
        if (drop && s.level > s.room) DROP(&s);
    }
    return 0;
}
#undef SAMPLES
#undef JOB
#undef SAMPLE
#undef SPAN
#undef KEY
#undef SELECT
#undef BRACKET
#undef COLLECT
#undef SETTLE
#undef WRITE
#undef DROP
#undef WHOLE_SAMPLES
#undef COLLECT_SPANS
#undef WRITE_SPANS
#undef MAGNITUDE
