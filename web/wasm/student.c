/* A band of a frame through a student, two rows of all layers at a time, so that what layers hand
   on stays in the cache. */
#include "plan.h"

static void fill_outside(const Maps *maps, int32_t tiles, int32_t wide, int32_t high, int32_t y) {
    int16_t *row = row_of(maps, tiles, y);
    int32_t from = y < 0 || y >= high ? 0 : wide + 1;
    v128_t outside = wasm_i16x8_splat((int16_t)maps->outside);
    for (int32_t c = 0; c < maps->channels; c += 8) wasm_v128_store(row + c, outside);
    for (int32_t c = from * maps->channels; c < (2 * tiles + 2) * maps->channels; c += 8) {
        wasm_v128_store(row + c, outside);
    }
}

/* Rows `first` to `end` (without) of blocks. In step k layer l computes its rows 2k-l and 2k-l+1,
   which need what layer l-1 computed in this step and in the one before, and nothing else. */
__attribute__((export_name("run"))) void run(const Plan *plan, int32_t first, int32_t end) {
    int32_t depth = plan->count, tiles = (plan->blocks_wide + 1) / 2;
    int32_t start = (first + depth) / 2, last = (end - 1 + depth) / 2;
    for (int32_t k = start - depth; k <= last; k++) {
        for (int32_t l = 0; l <= depth; l++) {
            if (k < start - (depth - l)) continue;
            const Maps *to = l ? &plan->layers[l - 1].to : &plan->source;
            int32_t y = 2 * k - l;
            if (y + 1 >= 0 && y < plan->blocks_high) {
                if (l) convolve_rows(plan, &plan->layers[l - 1], y);
                else for (int32_t i = 0; i < 2; i++) {
                    if (y + i >= plan->blocks_high) continue;
                    if (plan->takes_lr) read_pixels(plan, y + i, row_of(to, tiles, y + i));
                    else interpolate_blocks(plan, y + i, row_of(to, tiles, y + i));
                }
            }
            for (int32_t i = 0; i < 2; i++) fill_outside(to, tiles, plan->blocks_wide, plan->blocks_high, y + i);
        }
        for (int32_t y = 2 * k - depth; y < 2 * k - depth + 2; y++) {
            if (k >= start && y >= first && y < end) {
                if (plan->takes_lr) interpolate_blocks(plan, y, row_of(&plan->image, tiles, y));
                write_blocks(plan, y, plan->output + 4 * (y - first) * plan->factor * plan->out_width);
            }
        }
    }
}
