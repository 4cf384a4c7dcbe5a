/* Two rows of a 3x3 convolution by Winograd's F(2x2, 3x3): Lavin & Gray 2016, "Fast Algorithms for
   Convolutional Neural Networks". 16 products a channel pair make 4 outputs where plain
   convolution takes 36. Inputs and transformed weights are 16-bit integers, products are summed in
   32 bits without overflow (kernel.js chooses the weights' scale so), the rest is float. */
#include "plan.h"

static const float ROUNDER = 12582912.0f; /* as in blocks.c */
static const double DOUBLE_ROUNDER = 6755399441055744.0; /* the same for doubles */

/* 4x4 inputs of each of `count` tiles to 16 positions; inputs of -8192 to 8191 stay 16-bit. */
static void transform(const Plan *plan, int16_t *const rows[4], int32_t channels, int32_t count) {
    const int32_t position = TILES * channels;
    for (int32_t c = 0; c < channels; c += 8) {
        v128_t columns[4][4];
        for (int32_t x = 0; x < 2; x++) {
            v128_t r0 = wasm_v128_load(rows[0] + x * channels + c), r1 = wasm_v128_load(rows[1] + x * channels + c);
            v128_t r2 = wasm_v128_load(rows[2] + x * channels + c), r3 = wasm_v128_load(rows[3] + x * channels + c);
            columns[x][0] = wasm_i16x8_sub(r0, r2), columns[x][1] = wasm_i16x8_add(r1, r2);
            columns[x][2] = wasm_i16x8_sub(r2, r1), columns[x][3] = wasm_i16x8_sub(r1, r3);
        }
        for (int32_t tile = 0; tile < count; tile++) {
            for (int32_t x = 2; x < 4; x++) {
                int32_t place = (2 * tile + x) * channels + c;
                v128_t r0 = wasm_v128_load(rows[0] + place), r1 = wasm_v128_load(rows[1] + place);
                v128_t r2 = wasm_v128_load(rows[2] + place), r3 = wasm_v128_load(rows[3] + place);
                columns[x][0] = wasm_i16x8_sub(r0, r2), columns[x][1] = wasm_i16x8_add(r1, r2);
                columns[x][2] = wasm_i16x8_sub(r2, r1), columns[x][3] = wasm_i16x8_sub(r1, r3);
            }
            int16_t *to = plan->transformed + tile * channels + c;
            for (int32_t i = 0; i < 4; i++, to += 4 * position) {
                v128_t c0 = columns[0][i], c1 = columns[1][i], c2 = columns[2][i], c3 = columns[3][i];
                wasm_v128_store(to, wasm_i16x8_sub(c0, c2));
                wasm_v128_store(to + position, wasm_i16x8_add(c1, c2));
                wasm_v128_store(to + 2 * position, wasm_i16x8_sub(c2, c1));
                wasm_v128_store(to + 3 * position, wasm_i16x8_sub(c1, c3));
                columns[0][i] = c2, columns[1][i] = c3;
            }
        }
    }
}

/* One position of two tiles: `quads` (1 to 4, known to the compiler) times 4 outputs of each. */
static inline __attribute__((always_inline)) void multiply_group(
    const int16_t *weights, const int16_t *a, const int16_t *b, int32_t pairs, int32_t quads, float *to_a, float *to_b) {
    v128_t sums_a[4], sums_b[4];
    for (int32_t q = 0; q < quads; q++) sums_a[q] = sums_b[q] = wasm_i32x4_const_splat(0);
    for (int32_t p = 0; p < pairs; p++) {
        v128_t in_a = wasm_v128_load32_splat(a + 2 * p), in_b = wasm_v128_load32_splat(b + 2 * p);
        for (int32_t q = 0; q < quads; q++, weights += 8) {
            v128_t weight = wasm_v128_load(weights);
            sums_a[q] = wasm_i32x4_add(sums_a[q], wasm_i32x4_dot_i16x8(in_a, weight));
            sums_b[q] = wasm_i32x4_add(sums_b[q], wasm_i32x4_dot_i16x8(in_b, weight));
        }
    }
    for (int32_t q = 0; q < quads; q++) {
        wasm_v128_store(to_a + 4 * q, wasm_f32x4_convert_i32x4(sums_a[q]));
        wasm_v128_store(to_b + 4 * q, wasm_f32x4_convert_i32x4(sums_b[q]));
    }
}

static void multiply(const Plan *plan, const Layer *layer, int32_t count) {
    const int16_t *weights = layer->weights;
    const int32_t pairs = layer->pairs, in = layer->from.channels, out = layer->to.channels;
    for (int32_t position = 0; position < 16; position++) {
        const int16_t *from = plan->transformed + position * TILES * in;
        float *to = plan->products + position * TILES * out;
        for (int32_t quad = 0; quad < layer->quads; quad += 4, to += 16) {
            int32_t quads = layer->quads - quad < 4 ? layer->quads - quad : 4;
            for (int32_t tile = 0; tile < count; tile += 2) {
                const int16_t *a = from + tile * in, *b = a + in;
                float *to_a = to + tile * out, *to_b = to_a + out;
                switch (quads) {
                    case 4: multiply_group(weights, a, b, pairs, 4, to_a, to_b); break;
                    case 3: multiply_group(weights, a, b, pairs, 3, to_a, to_b); break;
                    case 2: multiply_group(weights, a, b, pairs, 2, to_a, to_b); break;
                    default: multiply_group(weights, a, b, pairs, 1, to_a, to_b);
                }
            }
            weights += quads * pairs * 8;
        }
    }
}

/* Four sums that are whole numbers, times scale plus bias, saturated and rounded. In double, so that
   it is the rounding of exact arithmetic: one that float32 turned would be carried on by all layers. */
static inline v128_t levels_of(const Layer *layer, v128_t sums, int32_t channel) {
    const double *exact = layer->exact + 2 * channel;
    v128_t halves[2] = {wasm_f64x2_promote_low_f32x4(sums), wasm_f64x2_promote_low_f32x4(wasm_i64x2_shuffle(sums, sums, 1, 1))};
    for (int32_t i = 0; i < 2; i++) {
        v128_t value = wasm_f64x2_mul(halves[i], wasm_v128_load(exact + 4 * i));
        value = wasm_f64x2_add(value, wasm_v128_load(exact + 4 * i + 2));
        value = wasm_f64x2_pmin(wasm_f64x2_pmax(value, wasm_f64x2_const_splat(0)), wasm_f64x2_const_splat(255));
        halves[i] = wasm_f64x2_add(value, wasm_f64x2_const_splat(DOUBLE_ROUNDER));
    }
    return wasm_i32x4_shuffle(halves[0], halves[1], 0, 2, 4, 6);
}

/* Four outputs of four channels from the 16 products, as integers in 32 bits. */
static inline __attribute__((always_inline)) void finish(
    const Layer *layer, const float *from, int32_t position, int32_t channel, v128_t out[4]) {
    v128_t upper[4], lower[4];
    for (int32_t j = 0; j < 4; j++) {
        v128_t m0 = wasm_v128_load(from + j * position), m1 = wasm_v128_load(from + (4 + j) * position);
        v128_t m2 = wasm_v128_load(from + (8 + j) * position), m3 = wasm_v128_load(from + (12 + j) * position);
        upper[j] = wasm_f32x4_add(wasm_f32x4_add(m0, m1), m2);
        lower[j] = wasm_f32x4_sub(wasm_f32x4_sub(m1, m2), m3);
    }
    out[0] = wasm_f32x4_add(wasm_f32x4_add(upper[0], upper[1]), upper[2]);
    out[1] = wasm_f32x4_sub(wasm_f32x4_sub(upper[1], upper[2]), upper[3]);
    out[2] = wasm_f32x4_add(wasm_f32x4_add(lower[0], lower[1]), lower[2]);
    out[3] = wasm_f32x4_sub(wasm_f32x4_sub(lower[1], lower[2]), lower[3]);
    v128_t scale = wasm_v128_load(layer->scale + channel), bias = wasm_v128_load(layer->bias + channel);
    const v128_t zero = wasm_f32x4_const_splat(0);
    for (int32_t i = 0; i < 4; i++) {
        if (layer->exact) {
            out[i] = levels_of(layer, out[i], channel);
            continue;
        }
        v128_t value = wasm_f32x4_add(wasm_f32x4_mul(out[i], scale), bias);
        if (layer->slope) {
            v128_t slope = wasm_v128_load(layer->slope + channel);
            v128_t below = wasm_f32x4_mul(wasm_f32x4_pmin(value, zero), slope);
            value = wasm_f32x4_add(wasm_f32x4_pmax(value, zero), below);
        }
        value = wasm_f32x4_pmax(value, wasm_f32x4_splat(layer->low));
        value = wasm_f32x4_pmin(value, wasm_f32x4_splat(layer->high));
        value = wasm_f32x4_add(value, wasm_f32x4_const_splat(ROUNDER));
        out[i] = wasm_i32x4_sub(value, wasm_i32x4_const_splat(0x4b400000));
    }
}

static void transform_back(const Plan *plan, const Layer *layer, int16_t *const to[2], int32_t count) {
    const int32_t channels = layer->to.channels, position = TILES * channels;
    for (int32_t tile = 0; tile < count; tile++) {
        for (int32_t c = 0; c < channels; c += 8) {
            v128_t left[4], right[4];
            const float *from = plan->products + tile * channels + c;
            finish(layer, from, position, c, left);
            finish(layer, from + 4, position, c + 4, right);
            for (int32_t i = 0; i < 4; i++) {
                int16_t *pixel = to[i / 2] + (2 * tile + i % 2) * channels + c;
                wasm_v128_store(pixel, wasm_i16x8_narrow_i32x4(left[i], right[i]));
            }
        }
    }
}

void convolve_rows(const Plan *plan, const Layer *layer, int32_t y) {
    const int32_t tiles = (plan->blocks_wide + 1) / 2;
    int16_t *from[4], *to[2];
    for (int32_t i = 0; i < 4; i++) from[i] = row_of(&layer->from, tiles, y - 1 + i);
    for (int32_t i = 0; i < 2; i++) to[i] = row_of(&layer->to, tiles, y + i) + layer->to.channels;
    for (int32_t tile = 0; tile < tiles; tile += TILES) {
        int32_t count = tiles - tile < TILES ? tiles - tile : TILES;
        transform(plan, from, layer->from.channels, count);
        multiply(plan, layer, count);
        transform_back(plan, layer, to, count);
        for (int32_t i = 0; i < 4; i++) from[i] += 2 * TILES * layer->from.channels;
        for (int32_t i = 0; i < 2; i++) to[i] += 2 * TILES * layer->to.channels;
    }
}
