/* Keep the k largest magnitudes of every needle. Included once per width of float.
 *
 * Γ is dense and seen as (outer, channels, inner); a needle's entries are `inner` apart. A tile of TILE needles is copied to
 * scratch memory that stays in the cache, as rows of one channel each, whatever the layout was: needles are then lanes.
 * Wider floats are searched by their upper 16 bits first, at the price of 16-bit lanes, and in full only inside the bucket
 * where the threshold fell.
 */
#define NEEDLES JOIN(needles, WIDTH)
#define NEEDLES_JOB JOIN(needles_job, WIDTH)
#define NEEDLES_WORK JOIN(needles_work, WIDTH)
#define THRESHOLDS JOIN(thresholds, WIDTH)
#define DROP_TIES JOIN(drop_ties, WIDTH)
#define LOAD JOIN(load, WIDTH)
#define STORE JOIN(store, WIDTH)
#define MAGNITUDE ((INT)(((uint64_t)1 << (WIDTH - 1)) - 1))
#define SHIFT (WIDTH - 16)
#define GROUPS (TILE / LANES(INT))
#define TILE LANES(int16_t)

typedef struct {
    const INT *gamma;
    INT *out;
    int64_t outer, channels, inner, k, inf, counter;
    int64_t run; /* tiles taken at a time, so that neighbours warm each other's search up */
    char *scratch;
    size_t scratch_size;
} NEEDLES_JOB;

/* The threshold of each of the TILE needles, given the last tile's range of them in `warm`; returns whether some have more
 * keys equal to it than they may keep, and then `room` says how many. */
INLINE int THRESHOLDS(const INT *tile, const int16_t *upper, const NEEDLES_JOB *job, int16_t *warm, INT *threshold, INT *room) {
    INT inf = (INT)job->inf, k = (INT)job->k, channels = (INT)job->channels;
    int16_t lanes[4][TILE]; /* lo, hi, at_lo, at_hi */
    bounds_16 b;
    vec_16 guesses[3 * GROUP];
    for (int v = 0; v < GROUP; v++) {
        b.lo[v] = b.at_hi[v] = (vec_16){0};
        b.hi[v] = (vec_16){0} + (int16_t)((inf >> SHIFT) + (WIDTH == 16 ? 2 : 1));
        b.at_lo[v] = (vec_16){0} + (int16_t)channels;
        guesses[v] = (vec_16){0} + warm[0];
        guesses[GROUP + v] = (vec_16){0} + warm[1];
        guesses[2 * GROUP + v] = (vec_16){0} + 1; /* after a ReLU many needles have fewer than k non-zeros */
    }
    search_16(upper, TILE, channels, (int16_t)k, WIDTH == 16 ? INT16_MAX : -1, guesses, 3, &b);
    memcpy(lanes[0], b.lo, sizeof lanes[0]);
    memcpy(lanes[1], b.hi, sizeof lanes[1]);
    memcpy(lanes[2], b.at_lo, sizeof lanes[2]);
    memcpy(lanes[3], b.at_hi, sizeof lanes[3]);
    int16_t low = INT16_MAX, high = 0;
    for (int p = 0; p < TILE; p++) low = MIN(low, lanes[0][p]), high = MAX(high, lanes[0][p]);
    warm[0] = low;
    warm[1] = (int16_t)(high + 1);

    int tied = 0;
    for (int g = 0; g < GROUPS; g++) {
        int first = g * LANES(INT);
        INT full[4][LANES(INT)];
        for (int p = 0; p < LANES(INT); p++) {
            full[0][p] = (INT)((INT)lanes[0][first + p] << SHIFT);
            full[1][p] = (INT)MIN((INT)lanes[1][first + p] << SHIFT, inf + 2);
            full[2][p] = lanes[2][first + p];
            full[3][p] = lanes[3][first + p];
        }
#if WIDTH == 16
        (void)tile;
#else
        BOUNDS f;
        VEC next_up[GROUP]; /* settles values that have no lower bits, and zeros */
        memcpy(&f, full, sizeof f);
        for (int v = 0; v < GROUP; v++) next_up[v] = f.lo[v] + 1;
        SEARCH(tile + first, TILE, channels, k, MAGNITUDE, next_up, 1, &f);
        memcpy(full, &f, sizeof f);
#endif
        for (int p = 0; p < LANES(INT); p++) {
            int over = full[2][p] != k;
            threshold[first + p] = full[0][p];
            room[first + p] = over ? (INT)(k - full[3][p]) : channels;
            tied |= over;
        }
    }
    return tied;
}

/* Zero the keys at the threshold for which there is no room, from the highest channel on. */
static void DROP_TIES(INT *tile, int64_t channels, INT inf, const INT *threshold, const INT *room) {
    for (int g = 0; g < GROUPS; g++) {
        VEC at[GROUP], left[GROUP];
        memcpy(at, threshold + g * LANES(INT), sizeof at);
        memcpy(left, room + g * LANES(INT), sizeof left);
        for (int64_t c = 0; c < channels; c++) {
            VEC *row = (VEC *)(tile + c * TILE + g * LANES(INT));
            for (int v = 0; v < GROUP; v++) {
                VEC key = row[v] & MAGNITUDE;
                VEC nan = (VEC)(key > inf);
                key = (nan & (INT)(inf + 1)) | (~nan & key);
                VEC equal = (VEC)(key == at[v]);
                row[v] &= ~(equal & (VEC)(left[v] <= 0));
                left[v] += equal;
            }
        }
    }
}

/* Entry (c, p) of the tile is at offset[p] + c * step of Γ, for p < width. */
INLINE void LOAD(const INT *gamma, const int64_t *offset, int64_t step, int width, int64_t channels, INT *tile) {
    for (int p = 0; p < width; p++)
        for (int64_t c = 0; c < channels; c++) tile[c * TILE + p] = gamma[offset[p] + c * step];
}

INLINE void STORE(const INT *from, const int64_t *offset, int64_t step, int width, int64_t channels, const INT *threshold,
                  int tied, const INT *tile, INT *out) {
    for (int p = 0; p < width; p++) {
        INT t = threshold[p];
        for (int64_t c = 0; c < channels; c++) {
            INT x = tied ? tile[c * TILE + p] : from[offset[p] + c * step];
            out[offset[p] + c * step] = (INT)((x & MAGNITUDE) >= t ? x : 0);
        }
    }
}

static void NEEDLES_WORK(void *context, int thread) {
    NEEDLES_JOB *job = context;
    int64_t channels = job->channels, inner = job->inner, needles = job->outer * inner;
    int64_t tiles = (needles + TILE - 1) / TILE;
    INT *tile = (INT *)(job->scratch + (size_t)thread * job->scratch_size);
    int16_t *upper = WIDTH == 16 ? (int16_t *)tile : (int16_t *)(tile + channels * TILE);
    int16_t warm[2] = {1, 1};
    for (int64_t run; (run = next(&job->counter) * job->run) < tiles;) {
        for (int64_t i = run; i < MIN(run + job->run, tiles); i++) {
            int64_t first = i * TILE, offset[TILE];
            int width = (int)MIN(TILE, needles - first);
            int straight = width == TILE && first % inner + TILE <= inner;
            for (int p = 0; p < width; p++)
                offset[p] = inner == 1 ? (first + p) * channels : (first + p) / inner * channels * inner + (first + p) % inner;
            const INT *from = job->gamma + offset[0];
            INT *to = job->out + offset[0];
            INT threshold[TILE] __attribute__((aligned(32))), room[TILE];

            if (width < TILE) memset(tile, 0, (size_t)channels * TILE * sizeof(INT));
            if (straight)
                for (int64_t c = 0; c < channels; c++) memcpy(tile + c * TILE, from + c * inner, TILE * sizeof(INT));
            else if (inner == 1)
                LOAD(job->gamma, offset, 1, width, channels, tile);
            else
                LOAD(job->gamma, offset, inner, width, channels, tile);
#if WIDTH > 16
            for (int64_t j = 0; j < channels * TILE; j++) upper[j] = (int16_t)((tile[j] & MAGNITUDE) >> SHIFT);
#endif
            int tied = THRESHOLDS(tile, upper, job, warm, threshold, room);
            if (tied) DROP_TIES(tile, channels, (INT)job->inf, threshold, room);
            if (straight) {
                for (int64_t c = 0; c < channels; c++)
                    for (int p = 0; p < TILE; p++) {
                        INT x = tile[c * TILE + p];
                        to[c * inner + p] = (INT)((x & MAGNITUDE) >= threshold[p] ? x : 0);
                    }
            } else if (inner == 1) {
                STORE(job->gamma, offset, 1, width, channels, threshold, tied, tile, job->out);
            } else {
                STORE(job->gamma, offset, inner, width, channels, threshold, tied, tile, job->out);
            }
        }
    }
}

/* 1 <= k < channels <= 32767; returns 0, or -1 when there is no memory for the tiles (a fraction of a megabyte). */
EXPORT int NEEDLES(const void *gamma, void *out, int64_t outer, int64_t channels, int64_t inner, int64_t k, int64_t inf,
                   int threads, team run) {
    NEEDLES_JOB job = {gamma, out, outer, channels, inner, k, inf, 0, 1, NULL, 0};
    int64_t tiles = (outer * inner + TILE - 1) / TILE;
    threads = (int)MIN(MIN(threads, MAX_THREADS), tiles);
    job.run = MAX(1, MIN(8, tiles / (4 * threads)));
    job.scratch_size = (size_t)channels * TILE * (sizeof(INT) + (WIDTH == 16 ? 0 : 2));
    if (posix_memalign((void **)&job.scratch, 64, job.scratch_size * (size_t)threads)) return -1;
    parallel(NEEDLES_WORK, &job, threads, run);
    free(job.scratch);
    return 0;
}
#undef NEEDLES
#undef NEEDLES_JOB
#undef NEEDLES_WORK
#undef THRESHOLDS
#undef DROP_TIES
#undef LOAD
#undef STORE
#undef MAGNITUDE
#undef SHIFT
#undef GROUPS
#undef VEC
#undef BOUNDS
#undef SEARCH
