/* The search for the k-th largest magnitude in many needles at once: one needle per lane of a vector, bisecting the value.
 *
 * Included once per width of integer. A group is LANES needles in GROUP vectors, enough to keep the counting loop busy.
 */
#define GROUP 4
#define VEC JOIN(vec, WIDTH)
#define BOUNDS JOIN(bounds, WIDTH)
#define SEARCH JOIN(search, WIDTH)
#define LANES(type) ((int)(32 * GROUP / sizeof(type)))

typedef INT VEC __attribute__((vector_size(32)));
typedef struct {
    VEC lo[GROUP], hi[GROUP];       /* the threshold is in [lo, hi): */
    VEC at_lo[GROUP], at_hi[GROUP]; /* at least k keys are >= lo, fewer than k are >= hi */
} BOUNDS;

/* Narrow `b` until, in every lane, exactly k keys are >= lo, or hi is lo + 1 (several keys are equal at the threshold).
 *
 * keys: `channels` rows of the group, `stride` apart; `magnitude` takes their sign away. The first passes try `guesses`
 * where they are inside the bounds; one at the right place saves most of the bisection. */
INLINE void SEARCH(const INT *keys, int64_t stride, int64_t channels, INT k, INT magnitude, const VEC *guesses, int tries,
                   BOUNDS *b) {
    for (int pass = 0;; pass++) {
        VEC open = {0}, below[GROUP], count[GROUP];
        for (int v = 0; v < GROUP; v++) {
            VEC gap = b->hi[v] - b->lo[v];
            open |= (b->at_lo[v] != k) & (gap > 1);
            below[v] = b->lo[v] + (gap >> 1) - 1;
            count[v] = (VEC){0};
        }
        uint64_t any[4];
        memcpy(any, &open, sizeof any);
        if (!(any[0] | any[1] | any[2] | any[3])) return;
        if (pass < tries) {
            for (int v = 0; v < GROUP; v++) {
                VEC guess = guesses[pass * GROUP + v];
                VEC inside = (guess > b->lo[v]) & (guess < b->hi[v]);
                below[v] = (inside & (guess - 1)) | (~inside & below[v]);
            }
        }
        for (int64_t c = 0; c < channels; c++) {
            const VEC *row = (const VEC *)(keys + c * stride);
            for (int v = 0; v < GROUP; v++) count[v] -= (VEC)((row[v] & magnitude) > below[v]);
        }
        for (int v = 0; v < GROUP; v++) {
            VEC enough = count[v] >= k;
            b->lo[v] = (enough & (below[v] + 1)) | (~enough & b->lo[v]);
            b->at_lo[v] = (enough & count[v]) | (~enough & b->at_lo[v]);
            b->hi[v] = (~enough & (below[v] + 1)) | (enough & b->hi[v]);
            b->at_hi[v] = (~enough & count[v]) | (enough & b->at_hi[v]);
        }
    }
}
