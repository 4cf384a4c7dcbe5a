/* 8-bit pixels to blocks of interpolated ones, and blocks to 8-bit pixels. Channel c*f*f + dy*f + dx
   of a block holds colour c of its pixel (dy, dx); blocks of 2x2 are made in registers. */
#include "plan.h"

/* Maps of the image hold levels times UNITS, minus MIDDLE, which is 127.5 levels. */
enum { UNITS = 64, SHIFT = 6, MIDDLE = 8160 };
/* Adding it to a float of less than 2^22 rounds that to an integer in its low bits. */
static const float ROUNDER = 12582912.0f;

/* The frame itself: levels of red, green and blue, then zeros. */
void read_pixels(const Plan *plan, int32_t y, int16_t *to) {
    const uint8_t *from = plan->frame + (uint32_t)(y * plan->width) * 4;
    const v128_t colours = wasm_i16x8_const(-1, -1, -1, 0, 0, 0, 0, 0);
    to += plan->source.channels;
    for (int32_t x = 0; x < plan->width; x++, from += 4, to += plan->source.channels) {
        v128_t words = wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(from));
        wasm_v128_store(to, wasm_v128_and(words, colours));
    }
}

/* One output row before its columns are interpolated: floats, 4 a pixel. */
static void interpolate_row(const Plan *plan, const Taps *taps, float *line) {
    const uint8_t *from[4];
    for (int32_t k = 0; k < 4; k++) {
        int32_t y = taps->first + k;
        y = y < 0 ? 0 : y >= plan->height ? plan->height - 1 : y;
        from[k] = plan->frame + (uint32_t)(y * plan->width) * 4;
    }
    for (int32_t x = 0; x < plan->width; x++) {
        v128_t sum = wasm_f32x4_const_splat(0);
        for (int32_t k = 0; k < 4; k++) {
            v128_t bytes = wasm_v128_load32_zero(from[k] + 4 * x);
            v128_t words = wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(bytes));
            v128_t weight = wasm_f32x4_splat(taps->weights[k]);
            sum = wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(words), weight));
        }
        wasm_v128_store(line + 4 * (x + 4), sum);
    }
}

/* One output pixel in units of the maps: four 32-bit integers. */
static inline v128_t interpolate_pixel(const float *line, const Taps *taps) {
    const float *from = line + 4 * (taps->first + 4);
    v128_t sum = wasm_f32x4_const_splat(0);
    for (int32_t k = 0; k < 4; k++) {
        sum = wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_v128_load(from + 4 * k), wasm_v128_load32_splat(taps->weights + k)));
    }
    sum = wasm_f32x4_pmin(wasm_f32x4_pmax(sum, wasm_f32x4_const_splat(0)), wasm_f32x4_const_splat(255));
    sum = wasm_f32x4_add(wasm_f32x4_mul(sum, wasm_f32x4_const_splat(UNITS)), wasm_f32x4_const_splat(ROUNDER));
    return wasm_i32x4_sub(sum, wasm_i32x4_const_splat(0x4b400000 + MIDDLE));
}

static void interpolate_blocks_of_two(const Plan *plan, int16_t *to) {
    const float *lines[2] = {plan->lines, plan->lines + 4 * (plan->width + 8)};
    const v128_t nothing = wasm_i32x4_const_splat(0);
    for (int32_t x = 0; x < plan->blocks_wide; x++) {
        const Taps *taps = plan->columns + 2 * x;
        v128_t a = interpolate_pixel(lines[0], taps), b = interpolate_pixel(lines[0], taps + 1);
        v128_t c = interpolate_pixel(lines[1], taps), d = interpolate_pixel(lines[1], taps + 1);
        v128_t ab = wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), cd = wasm_i32x4_shuffle(c, d, 0, 4, 1, 5);
        v128_t red = wasm_i64x2_shuffle(ab, cd, 0, 2), green = wasm_i64x2_shuffle(ab, cd, 1, 3);
        ab = wasm_i32x4_shuffle(a, b, 2, 6, 3, 7), cd = wasm_i32x4_shuffle(c, d, 2, 6, 3, 7);
        v128_t blue = wasm_i64x2_shuffle(ab, cd, 0, 2);
        int16_t *block = to + x * plan->image.channels;
        wasm_v128_store(block, wasm_i16x8_narrow_i32x4(red, green));
        wasm_v128_store(block + 8, wasm_i16x8_narrow_i32x4(blue, nothing));
    }
}

void interpolate_blocks(const Plan *plan, int32_t y, int16_t *to) {
    const int32_t factor = plan->factor, stride = 4 * (plan->width + 8);
    for (int32_t i = 0; i < factor; i++) {
        interpolate_row(plan, plan->rows + factor * y + i, plan->lines + i * stride);
    }
    to += plan->image.channels;
    if (factor == 2) {
        interpolate_blocks_of_two(plan, to);
        return;
    }
    for (int32_t x = 0; x < plan->blocks_wide; x++, to += plan->image.channels) {
        for (int32_t i = 0; i < factor * factor; i++) {
            v128_t pixel = interpolate_pixel(plan->lines + i / factor * stride, plan->columns + factor * x + i % factor);
            to[i] = (int16_t)wasm_i32x4_extract_lane(pixel, 0);
            to[i + factor * factor] = (int16_t)wasm_i32x4_extract_lane(pixel, 1);
            to[i + 2 * factor * factor] = (int16_t)wasm_i32x4_extract_lane(pixel, 2);
        }
    }
}

static inline v128_t levels(v128_t image, v128_t detail) {
    image = wasm_i16x8_add(image, wasm_i16x8_const_splat(MIDDLE + UNITS / 2));
    return wasm_i16x8_shr(wasm_i16x8_add_sat(image, detail), SHIFT);
}

static void write_blocks_of_two(const Plan *plan, int32_t y, const int16_t *image, const int16_t *detail, uint8_t *to) {
    uint8_t *below = to + plan->out_width * 4;
    int32_t two_rows = 2 * y + 1 < plan->out_height;
    for (int32_t x = 0; x < plan->blocks_wide; x++, image += plan->image.channels, detail += plan->detail.channels) {
        v128_t red_green = levels(wasm_v128_load(image), wasm_v128_load(detail));
        v128_t blue = levels(wasm_v128_load(image + 8), wasm_v128_load(detail + 8));
        v128_t bytes = wasm_u8x16_narrow_i16x8(red_green, blue);
        bytes = wasm_i8x16_shuffle(bytes, wasm_i8x16_const_splat(-1), 0, 4, 8, 16, 1, 5, 9, 16, 2, 6, 10, 16, 3, 7, 11, 16);
        if (2 * x + 1 < plan->out_width) {
            wasm_v128_store64_lane(to + 8 * x, bytes, 0);
            if (two_rows) wasm_v128_store64_lane(below + 8 * x, bytes, 1);
        } else {
            wasm_v128_store32_lane(to + 8 * x, bytes, 0);
            if (two_rows) wasm_v128_store32_lane(below + 8 * x, bytes, 2);
        }
    }
}

void write_blocks(const Plan *plan, int32_t y, uint8_t *to) {
    const int32_t tiles = (plan->blocks_wide + 1) / 2, factor = plan->factor;
    const int16_t *image = row_of(&plan->image, tiles, y) + plan->image.channels;
    const int16_t *detail = row_of(&plan->detail, tiles, y) + plan->detail.channels;
    if (factor == 2) {
        write_blocks_of_two(plan, y, image, detail, to);
        return;
    }
    for (int32_t line = 0; line < factor && y * factor + line < plan->out_height; line++) {
        for (int32_t x = 0; x < plan->out_width; x++, to += 4) {
            int32_t block = x / factor, channel = line * factor + x % factor;
            for (int32_t c = 0; c < 3; c++, channel += factor * factor) {
                int32_t sum = image[block * plan->image.channels + channel] + detail[block * plan->detail.channels + channel];
                int32_t level = (sum + MIDDLE + UNITS / 2) >> SHIFT;
                to[c] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
            }
            to[3] = 255;
        }
    }
}
