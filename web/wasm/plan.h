/* What kernel.js writes into memory for the kernel: plain words of 32 bits, in this order. */
#pragma once
#include <stdint.h>
#include <wasm_simd128.h>

enum { TILES = 8 };  /* Winograd tiles that are transformed, multiplied and transformed back at once */

/* Rows of 16-bit maps: pixel x of a row is `channels` values at (x + 1) * channels; one pixel on the
   left and one or two on the right are outside the frame and hold `outside`, the value that means 0.
   Row y lies at y modulo `rows`. */
typedef struct {
    int16_t *values;
    int32_t channels; /* a multiple of 8 */
    int32_t rows;     /* a multiple of 2 */
    int32_t outside;
} Maps;

/* A 3x3 convolution in the domain of Winograd's F(2x2, 3x3) and its activation. */
typedef struct {
    Maps from, to;
    int32_t pairs;  /* of input channels */
    int32_t quads;  /* of output channels */
    const int16_t *weights; /* (16 positions, quads, pairs, 4 outputs, 2 inputs), but for the order
                               within a group of four quads: (pairs, quads of the group) */
    const float *scale, *bias, *slope; /* by output channel; slope is null but for PReLU */
    const double *exact; /* null but where 8-bit levels make 8-bit levels: scale and bias of each output
                            channel once more, (channels / 2, 2, 2): scales of two, biases of two */
    float low, high; /* where results saturate */
} Layer;

/* For each output row or column: the first of four input ones, and their weights, 0 outside. */
typedef struct {
    int32_t first;
    float weights[4];
} Taps;

typedef struct {
    int32_t width, height; /* of the input frame */
    int32_t blocks_wide, blocks_high, factor; /* blocks of factor x factor output pixels; the last
                                                 ones may be cut */
    int32_t takes_lr; /* whether layers read the frame itself, and not blocks of the image */
    int32_t out_width, out_height;
    const uint8_t *frame; /* (height, width, 4) */
    uint8_t *output; /* (rows of the band, out_width, 4) */
    const Taps *columns, *rows; /* blocks_wide * factor, blocks_high * factor */
    float *lines; /* `factor` rows of width + 8 pixels of 4 floats; 4 pixels at either end are 0 */
    int16_t *transformed; /* (16, TILES, channels of the widest input) */
    float *products; /* (16, TILES, channels of the widest output) */
    Maps source, image, detail; /* what the first layer reads, `image` unless takes_lr; the
                                   interpolated image; what the last layer gives */
    int32_t count; /* of layers */
    Layer *layers;
} Plan;

static inline int16_t *row_of(const Maps *maps, int32_t tiles, int32_t y) {
    uint32_t place = (uint32_t)(y + maps->rows * 4096) % (uint32_t)maps->rows;
    return maps->values + place * (uint32_t)((2 * tiles + 2) * maps->channels);
}

void read_pixels(const Plan *plan, int32_t y, int16_t *to);
void interpolate_blocks(const Plan *plan, int32_t y, int16_t *to);
void convolve_rows(const Plan *plan, const Layer *layer, int32_t y);
void write_blocks(const Plan *plan, int32_t y, uint8_t *to);
