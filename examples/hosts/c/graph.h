/* One graph of a bundle behind the onnxruntime C API: token ids in, float32 outputs out. */
#ifndef POOL_GRAPH_H
#define POOL_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { POOL_MAX_RANK = 4, POOL_MAX_OUTPUTS = 8 };

typedef struct {
    size_t length;
    const int64_t *ids;
    const int64_t *types;  /* segment ids; NULL is all zero */
    const int64_t *pooled; /* 0 on the tokens that stay out of pooling; NULL is none */
} PoolText;

typedef struct {
    size_t rank; /* of the whole batch: shape[0] is its size */
    int64_t shape[POOL_MAX_RANK];
    float *data; /* owned; pool_free_outputs */
} PoolOutput;

typedef struct PoolGraph PoolGraph;

/* Open an .onnx file; external data is found beside it. A graph that takes text (onnx/model_text.onnx) needs the
   library of onnxruntime-extensions; NULL for any other. NULL on failure: pool_error says why. */
PoolGraph *pool_open(const char *path, const char *extensions);
void pool_close(PoolGraph *graph);

bool pool_has_input(const PoolGraph *graph, const char *name);
bool pool_has_output(const PoolGraph *graph, const char *name);

/* Run a batch. Rows are padded on the right with token 0 under a mask of 0, which changes nothing. */
bool pool_run(PoolGraph *graph, const PoolText *texts, size_t batch, const char *const *names, size_t count,
              PoolOutput *outputs);
/* Run one UTF-8 text through a graph that takes text. */
bool pool_run_text(PoolGraph *graph, const char *text, const char *const *names, size_t count, PoolOutput *outputs);
void pool_free_outputs(PoolOutput *outputs, size_t count);

/* Shorten a Matryoshka vector in place: the first `size` numbers, at length 1 again. */
void pool_shorten(float *vector, size_t size);

/* The last failure of this thread, one line. */
const char *pool_error(void);

#ifdef __cplusplus
}
#endif

#endif
