#include "graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <onnxruntime_c_api.h>

enum { MAX_INPUTS = 5 };
static const char TEXT[] = "text";
static const char *const KNOWN_INPUTS[MAX_INPUTS] = {"input_ids", "attention_mask", "token_type_ids", "pooling_mask",
                                                     TEXT};

struct PoolGraph {
    const OrtApi *ort;
    OrtEnv *env;
    OrtSession *session;
    OrtMemoryInfo *memory;
    const char *inputs[MAX_INPUTS]; /* those of KNOWN_INPUTS that the graph has */
    size_t input_count;
    char *outputs[POOL_MAX_OUTPUTS];
    size_t output_count;
};

static _Thread_local char last_error[512];

const char *pool_error(void) { return last_error; }

static bool fail(const char *text) {
    snprintf(last_error, sizeof last_error, "%s", text);
    return false;
}

/* Take over a status: true where there is none, else keep its message. */
static bool ok(const OrtApi *ort, OrtStatus *status) {
    if (status == NULL) return true;
    fail(ort->GetErrorMessage(status));
    ort->ReleaseStatus(status);
    return false;
}

static bool read_inputs(PoolGraph *graph, OrtAllocator *allocator) {
    const OrtApi *ort = graph->ort;
    size_t count = 0;
    if (!ok(ort, ort->SessionGetInputCount(graph->session, &count))) return false;
    for (size_t i = 0; i < count; i++) {
        char *name = NULL;
        if (!ok(ort, ort->SessionGetInputName(graph->session, i, allocator, &name))) return false;
        const char *known = NULL;
        for (size_t k = 0; k < MAX_INPUTS; k++) {
            if (strcmp(name, KNOWN_INPUTS[k]) == 0) known = KNOWN_INPUTS[k];
        }
        if (known == NULL) snprintf(last_error, sizeof last_error, "unknown graph input %s", name);
        (void)ok(ort, ort->AllocatorFree(allocator, name));
        if (known == NULL) return false;
        graph->inputs[graph->input_count++] = known;
    }
    return true;
}

static bool read_outputs(PoolGraph *graph, OrtAllocator *allocator) {
    const OrtApi *ort = graph->ort;
    size_t count = 0;
    if (!ok(ort, ort->SessionGetOutputCount(graph->session, &count))) return false;
    if (count > POOL_MAX_OUTPUTS) return fail("more outputs than a bundle of pool-export has");
    for (size_t i = 0; i < count; i++) {
        if (!ok(ort, ort->SessionGetOutputName(graph->session, i, allocator, &graph->outputs[i]))) return false;
        graph->output_count = i + 1;
    }
    return true;
}

static bool start(PoolGraph *graph, const char *path, const char *extensions) {
    const OrtApi *ort = graph->ort;
    OrtAllocator *allocator = NULL;
    OrtSessionOptions *options = NULL;
    bool done = ok(ort, ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "pool", &graph->env)) &&
                ok(ort, ort->DisableTelemetryEvents(graph->env)) &&
                ok(ort, ort->CreateSessionOptions(&options)) &&
                (extensions == NULL || ok(ort, ort->RegisterCustomOpsLibrary_V2(options, extensions))) &&
                ok(ort, ort->CreateSession(graph->env, path, options, &graph->session)) &&
                ok(ort, ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &graph->memory)) &&
                ok(ort, ort->GetAllocatorWithDefaultOptions(&allocator)) && read_inputs(graph, allocator) &&
                read_outputs(graph, allocator);
    if (options != NULL) ort->ReleaseSessionOptions(options);
    return done;
}

PoolGraph *pool_open(const char *path, const char *extensions) {
    PoolGraph *graph = calloc(1, sizeof *graph);
    if (graph == NULL) return fail("out of memory"), NULL;
    graph->ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (graph->ort == NULL) {
        fail("the onnxruntime library is older than the header this was built with");
    } else if (start(graph, path, extensions)) {
        return graph;
    }
    pool_close(graph);
    return NULL;
}

void pool_close(PoolGraph *graph) {
    if (graph == NULL) return;
    const OrtApi *ort = graph->ort;
    OrtAllocator *allocator = NULL;
    if (graph->output_count > 0 && ok(ort, ort->GetAllocatorWithDefaultOptions(&allocator))) {
        for (size_t i = 0; i < graph->output_count; i++) {
            (void)ok(ort, ort->AllocatorFree(allocator, graph->outputs[i]));
        }
    }
    if (graph->memory != NULL) ort->ReleaseMemoryInfo(graph->memory);
    if (graph->session != NULL) ort->ReleaseSession(graph->session);
    if (graph->env != NULL) ort->ReleaseEnv(graph->env);
    free(graph);
}

bool pool_has_input(const PoolGraph *graph, const char *name) {
    for (size_t i = 0; i < graph->input_count; i++) {
        if (strcmp(graph->inputs[i], name) == 0) return true;
    }
    return false;
}

bool pool_has_output(const PoolGraph *graph, const char *name) {
    for (size_t i = 0; i < graph->output_count; i++) {
        if (strcmp(graph->outputs[i], name) == 0) return true;
    }
    return false;
}

/* What one input says of one token. */
static int64_t value_of(const char *input, const PoolText *text, size_t at) {
    if (at >= text->length) return 0;
    if (strcmp(input, "input_ids") == 0) return text->ids[at];
    if (strcmp(input, "token_type_ids") == 0) return text->types == NULL ? 0 : text->types[at];
    if (strcmp(input, "pooling_mask") == 0) return text->pooled == NULL ? 1 : text->pooled[at];
    return 1; /* attention_mask */
}

/* The caller owns `buffer`, which has to outlive the tensor. */
static OrtValue *tensor_of(PoolGraph *graph, const char *input, const PoolText *texts, size_t batch, size_t width,
                           int64_t *buffer) {
    for (size_t row = 0; row < batch; row++) {
        for (size_t at = 0; at < width; at++) buffer[row * width + at] = value_of(input, &texts[row], at);
    }
    const int64_t shape[2] = {(int64_t)batch, (int64_t)width};
    OrtValue *tensor = NULL;
    (void)ok(graph->ort, graph->ort->CreateTensorWithDataAsOrtValue(graph->memory, buffer,
                                                                    batch * width * sizeof *buffer, shape, 2,
                                                                    ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &tensor));
    return tensor;
}

static bool copy_out(const OrtApi *ort, OrtValue *value, PoolOutput *output) {
    OrtTensorTypeAndShapeInfo *info = NULL;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t count = 0;
    void *data = NULL;
    bool done = ok(ort, ort->GetTensorTypeAndShape(value, &info)) && ok(ort, ort->GetTensorElementType(info, &type)) &&
                ok(ort, ort->GetDimensionsCount(info, &output->rank));
    if (done && (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || output->rank > POOL_MAX_RANK)) {
        done = fail("an output is not a float32 tensor of at most four axes");
    }
    done = done && ok(ort, ort->GetDimensions(info, output->shape, output->rank)) &&
           ok(ort, ort->GetTensorShapeElementCount(info, &count)) && ok(ort, ort->GetTensorMutableData(value, &data));
    if (info != NULL) ort->ReleaseTensorTypeAndShapeInfo(info);
    if (!done) return false;
    output->data = malloc(count * sizeof(float));
    if (output->data == NULL) return fail("out of memory");
    memcpy(output->data, data, count * sizeof(float));
    return true;
}

/* Run prepared inputs, copy the outputs out, and let go of both. */
static bool run_inputs(PoolGraph *graph, OrtValue **inputs, const char *const *names, size_t count,
                       PoolOutput *outputs) {
    const OrtApi *ort = graph->ort;
    OrtValue *values[POOL_MAX_OUTPUTS] = {NULL};
    bool done = ok(ort, ort->Run(graph->session, NULL, graph->inputs, (const OrtValue *const *)inputs,
                                 graph->input_count, names, count, values));
    for (size_t i = 0; done && i < count; i++) done = copy_out(ort, values[i], &outputs[i]);
    for (size_t i = 0; i < graph->input_count; i++) ort->ReleaseValue(inputs[i]);
    for (size_t i = 0; i < count; i++) ort->ReleaseValue(values[i]);
    if (!done) pool_free_outputs(outputs, count);
    return done;
}

bool pool_run(PoolGraph *graph, const PoolText *texts, size_t batch, const char *const *names, size_t count,
              PoolOutput *outputs) {
    size_t width = 1;
    for (size_t row = 0; row < batch; row++) width = texts[row].length > width ? texts[row].length : width;
    if (count > POOL_MAX_OUTPUTS) return fail("too many outputs asked for");
    if (pool_has_input(graph, TEXT)) return fail("this graph takes text, not token ids");
    memset(outputs, 0, count * sizeof *outputs);

    int64_t *buffers = malloc(MAX_INPUTS * batch * width * sizeof *buffers);
    OrtValue *inputs[MAX_INPUTS] = {NULL};
    bool done = buffers != NULL || fail("out of memory");
    for (size_t i = 0; done && i < graph->input_count; i++) {
        inputs[i] = tensor_of(graph, graph->inputs[i], texts, batch, width, buffers + i * batch * width);
        done = inputs[i] != NULL;
    }
    if (done) {
        done = run_inputs(graph, inputs, names, count, outputs);
    } else {
        for (size_t i = 0; i < MAX_INPUTS; i++) graph->ort->ReleaseValue(inputs[i]);
    }
    free(buffers);
    return done;
}

bool pool_run_text(PoolGraph *graph, const char *text, const char *const *names, size_t count, PoolOutput *outputs) {
    const OrtApi *ort = graph->ort;
    const int64_t shape[1] = {1};
    OrtAllocator *allocator = NULL;
    OrtValue *input = NULL;
    if (count > POOL_MAX_OUTPUTS) return fail("too many outputs asked for");
    if (!pool_has_input(graph, TEXT)) return fail("this graph takes token ids, not text");
    memset(outputs, 0, count * sizeof *outputs);
    if (ok(ort, ort->GetAllocatorWithDefaultOptions(&allocator)) &&
        ok(ort, ort->CreateTensorAsOrtValue(allocator, shape, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, &input)) &&
        ok(ort, ort->FillStringTensor(input, &text, 1))) {
        return run_inputs(graph, &input, names, count, outputs);
    }
    ort->ReleaseValue(input);
    return false;
}

void pool_free_outputs(PoolOutput *outputs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(outputs[i].data);
        outputs[i].data = NULL;
    }
}

void pool_shorten(float *vector, size_t size) {
    double sum = 0;
    for (size_t i = 0; i < size; i++) sum += (double)vector[i] * vector[i];
    const double norm = fmax(sqrt(sum), 1e-12);
    for (size_t i = 0; i < size; i++) vector[i] = (float)(vector[i] / norm);
}
