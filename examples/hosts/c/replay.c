#include "replay.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double max_abs; /* infinite where the file names none */
    double min_cosine;
} Tolerance;

typedef struct {
    size_t cases, failures;
    double gap, cosine;
} Report;

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    char *text = NULL;
    size_t size = 0, room = 0;
    for (;;) {
        if (size + 1 >= room) {
            char *larger = realloc(text, room = room == 0 ? 1 << 16 : 2 * room);
            if (larger == NULL) break;
            text = larger;
        }
        const size_t got = fread(text + size, 1, room - size - 1, file);
        size += got;
        text[size] = '\0';
        if (got == 0) break;
    }
    fclose(file);
    return text;
}

/* Append the numbers of nested lists, in order. */
static size_t flatten(const cJSON *list, double *numbers, size_t at) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (cJSON_IsArray(item)) {
            at = flatten(item, numbers, at);
        } else {
            if (numbers != NULL) numbers[at] = cJSON_GetNumberValue(item);
            at++;
        }
    }
    return at;
}

/* An output as the file states it: nested lists, or {"size", "indices", "values"} of a long, mostly empty vector. */
static double *dense(const cJSON *stated, size_t *count) {
    const cJSON *indices = cJSON_GetObjectItem(stated, "indices"), *values = cJSON_GetObjectItem(stated, "values");
    const cJSON *size = cJSON_GetObjectItem(stated, "size");
    *count = indices == NULL ? flatten(stated, NULL, 0) : (size_t)cJSON_GetNumberValue(size);
    double *numbers = calloc(*count + 1, sizeof *numbers);
    if (numbers == NULL) return NULL;
    if (indices == NULL) {
        flatten(stated, numbers, 0);
        return numbers;
    }
    const cJSON *value = cJSON_GetArrayItem(values, 0), *index;
    cJSON_ArrayForEach(index, indices) {
        const double at = cJSON_GetNumberValue(index);
        if (value != NULL && at >= 0 && at < (double)*count) numbers[(size_t)at] = cJSON_GetNumberValue(value);
        value = value == NULL ? NULL : value->next;
    }
    return numbers;
}

static int64_t *integers(const cJSON *list, size_t *count) {
    *count = (size_t)cJSON_GetArraySize(list);
    int64_t *numbers = *count == 0 ? NULL : malloc(*count * sizeof *numbers);
    if (numbers == NULL) return NULL;
    size_t at = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list) numbers[at++] = (int64_t)cJSON_GetNumberValue(item);
    return numbers;
}

static size_t elements(const PoolOutput *output) {
    size_t count = 1;
    for (size_t i = 1; i < output->rank; i++) count *= (size_t)output->shape[i]; /* without the batch axis */
    return count;
}

/* Largest difference, relative above magnitude 1, and cosine. A cosine of one number says nothing. */
static void compare(const double *want, const float *got, size_t count, double *gap, double *cosine) {
    double dot = 0, left = 0, right = 0;
    *gap = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs(want[i] - got[i]) / fmax(1, fabs(want[i]));
        if (!(difference <= *gap)) *gap = isnan(difference) ? INFINITY : difference;
        dot += want[i] * got[i], left += want[i] * want[i], right += (double)got[i] * got[i];
    }
    *cosine = count == 1 || left * right == 0 ? 1 : dot / sqrt(left * right);
}

static void judge(const char *shown, const cJSON *stated, const PoolOutput *output, Tolerance bars, Report *report) {
    size_t count = 0;
    double *want = dense(stated, &count), gap = INFINITY, cosine = -1;
    if (want != NULL && count == elements(output)) compare(want, output->data, count, &gap, &cosine);
    free(want);
    report->gap = fmax(report->gap, gap);
    report->cosine = fmin(report->cosine, cosine);
    if (gap <= bars.max_abs && cosine >= bars.min_cosine) return;
    report->failures++;
    fprintf(stderr, "%s: %s differs by %.2e (cosine %.6f)\n", shown, stated->string, gap, cosine);
}

static void replay_case(PoolGraph *graph, const cJSON *stated, Tolerance bars, Report *report) {
    char shown[64];
    snprintf(shown, sizeof shown, "case %zu", report->cases++);
    const char *names[POOL_MAX_OUTPUTS];
    const cJSON *wanted[POOL_MAX_OUTPUTS], *output;
    size_t count = 0, types = 0, pooled = 0;
    cJSON_ArrayForEach(output, cJSON_GetObjectItem(stated, "outputs")) {
        if (count == POOL_MAX_OUTPUTS || !pool_has_output(graph, output->string)) {
            fprintf(stderr, "%s: the graph has no output %s\n", shown, output->string);
            report->failures++;
            return;
        }
        names[count] = output->string;
        wanted[count++] = output;
    }
    PoolText text = {0};
    int64_t *ids = integers(cJSON_GetObjectItem(stated, "input_ids"), &text.length);
    int64_t *segments = integers(cJSON_GetObjectItem(stated, "token_type_ids"), &types);
    int64_t *mask = integers(cJSON_GetObjectItem(stated, "pooling_mask"), &pooled);
    text.ids = ids, text.types = segments, text.pooled = mask;
    PoolOutput found[POOL_MAX_OUTPUTS];
    const bool whole = count > 0 && ids != NULL && types == text.length && (mask == NULL || pooled == text.length);
    if (!whole || !pool_run(graph, &text, 1, names, count, found)) {
        fprintf(stderr, "%s: %s\n", shown, whole ? pool_error() : "it has no or unequal lists");
        report->failures++;
    } else {
        for (size_t i = 0; i < count; i++) judge(shown, wanted[i], &found[i], bars, report);
        pool_free_outputs(found, count);
    }
    free(ids), free(segments), free(mask);
}

static Tolerance tolerance_of(const cJSON *golden) {
    const cJSON *stated = cJSON_GetObjectItem(golden, "tolerance"), *largest = cJSON_GetObjectItem(stated, "max_abs");
    const double cosine = cJSON_GetNumberValue(cJSON_GetObjectItem(stated, "min_cosine")); /* NaN fails every case */
    return (Tolerance){cJSON_IsNull(largest) ? INFINITY : cJSON_GetNumberValue(largest), cosine};
}

int pool_replay(PoolGraph *graph, const char *path) {
    char *text = read_file(path);
    cJSON *golden = text == NULL ? NULL : cJSON_Parse(text);
    free(text);
    const cJSON *cases = cJSON_GetObjectItem(golden, "cases"), *stated;
    if (cJSON_GetNumberValue(cJSON_GetObjectItem(golden, "format")) != 1 || cJSON_GetArraySize(cases) == 0) {
        fprintf(stderr, "error: %s is missing, not of format 1, or without a case\n", path);
        cJSON_Delete(golden);
        return 1;
    }
    Report report = {.cosine = 1};
    const Tolerance bars = tolerance_of(golden);
    cJSON_ArrayForEach(stated, cases) replay_case(graph, stated, bars, &report);
    const int images = cJSON_GetArraySize(cJSON_GetObjectItem(golden, "images"));
    if (images > 0) fprintf(stderr, "%d images not replayed: this program runs the text graph\n", images);
    printf("%s: %zu cases, max-abs %.2e, min cosine %.7f (token ids from the file)\n",
           report.failures == 0 ? "passed" : "FAILED", report.cases, report.gap, report.cosine);
    cJSON_Delete(golden);
    return report.failures == 0 ? 0 : 1;
}
