/* pool_host replay|run|text BUNDLE …; see README.md. */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"
#include "replay.h"

enum { BATCH = 16, MAX_TOKENS = 8192, LINE = 1 << 17 };

static const char USAGE[] =
    "pool_host replay BUNDLE                              golden.json through the graph; exit code 0 or 1\n"
    "pool_host run    BUNDLE OUTPUT [DIMENSIONS] < IDS    one text a line: its token ids, then | and its segment ids\n"
    "pool_host text   BUNDLE OUTPUT EXTENSIONS < TEXTS    one text a line, through onnx/model_text.onnx;\n"
    "                                                     EXTENSIONS: the library of onnxruntime-extensions\n";

typedef struct {
    int64_t ids[MAX_TOKENS], types[MAX_TOKENS];
    PoolText text;
} Line;

/* Read numbers up to the end or a '|'; where it stopped, or NULL where something else is in the way. */
static const char *numbers(const char *at, int64_t *into, size_t *count) {
    for (*count = 0;; (*count)++) {
        while (isspace((unsigned char)*at) || *at == ',') at++;
        if (*at == '\0' || *at == '|') return at;
        char *end = NULL;
        errno = 0;
        const long long value = strtoll(at, &end, 10);
        if (end == at || errno != 0 || value < 0 || *count == MAX_TOKENS) return NULL;
        into[*count] = value;
        at = end;
    }
}

static bool parse(const char *text, Line *line) {
    size_t types = 0;
    const char *at = numbers(text, line->ids, &line->text.length);
    line->text.ids = line->ids, line->text.types = NULL, line->text.pooled = NULL;
    if (at == NULL || line->text.length == 0) return false;
    if (*at == '\0') return true;
    at = numbers(at + 1, line->types, &types);
    line->text.types = line->types;
    return at != NULL && *at == '\0' && types == line->text.length;
}

/* Print one row a text: JSON, token rows without the padding. */
static void print_row(const PoolOutput *output, size_t row, size_t length, size_t dimensions) {
    size_t size = 1;
    for (size_t i = 1; i < output->rank; i++) size *= (size_t)output->shape[i];
    float *data = output->data + row * size;
    if (output->rank == 3) size = length * (size_t)output->shape[2];
    if (dimensions > 0) pool_shorten(data, size = dimensions);
    for (size_t i = 0; i < size; i++) printf("%s%.9g", i == 0 ? "[" : ",", (double)data[i]);
    puts("]");
}

static bool run_batch(PoolGraph *graph, const Line *lines, size_t count, const char *name, size_t dimensions) {
    PoolText texts[BATCH];
    PoolOutput output;
    for (size_t i = 0; i < count; i++) texts[i] = lines[i].text;
    if (!pool_run(graph, texts, count, &name, 1, &output)) return false;
    const bool fits = dimensions == 0 || (output.rank == 2 && dimensions <= (size_t)output.shape[1]);
    for (size_t i = 0; fits && i < count; i++) print_row(&output, i, texts[i].length, dimensions);
    if (!fits) fprintf(stderr, "error: DIMENSIONS is for vectors, and at most their size\n");
    pool_free_outputs(&output, 1);
    return fits;
}

static int run_lines(PoolGraph *graph, const char *name, size_t dimensions) {
    Line *lines = malloc(BATCH * sizeof *lines);
    char *text = malloc(LINE);
    size_t count = 0;
    bool done = lines != NULL && text != NULL;
    for (size_t number = 1; done && fgets(text, LINE, stdin) != NULL; number++) {
        if (!parse(text, &lines[count])) {
            fprintf(stderr, "error: line %zu is not a list of token ids (and as many segment ids after a |)\n", number);
            free(lines), free(text);
            return 1;
        }
        if (++count == BATCH) done = run_batch(graph, lines, count, name, dimensions), count = 0;
    }
    if (done && count > 0) done = run_batch(graph, lines, count, name, dimensions);
    if (!done && *pool_error() != '\0') fprintf(stderr, "error: %s\n", pool_error());
    free(lines), free(text);
    return done ? 0 : 1;
}

static int run_texts(PoolGraph *graph, const char *name) {
    char *text = malloc(LINE);
    bool done = text != NULL;
    while (done && fgets(text, LINE, stdin) != NULL) {
        PoolOutput output;
        text[strcspn(text, "\n")] = '\0';
        done = pool_run_text(graph, text, &name, 1, &output);
        if (!done) break;
        print_row(&output, 0, output.rank == 3 ? (size_t)output.shape[1] : 0, 0);
        pool_free_outputs(&output, 1);
    }
    if (!done) fprintf(stderr, "error: %s\n", pool_error());
    free(text);
    return done ? 0 : 1;
}

static int run_command(PoolGraph *graph, char **argv, long dimensions) {
    char golden[4096];
    snprintf(golden, sizeof golden, "%s/golden.json", argv[2]);
    if (strcmp(argv[1], "replay") == 0) return pool_replay(graph, golden);
    if (!pool_has_output(graph, argv[3])) {
        fprintf(stderr, "error: the graph has no output %s\n", argv[3]);
        return 1;
    }
    return strcmp(argv[1], "text") == 0 ? run_texts(graph, argv[3]) : run_lines(graph, argv[3], (size_t)dimensions);
}

int main(int argc, char **argv) {
    const bool replays = argc == 3 && strcmp(argv[1], "replay") == 0;
    const bool runs = (argc == 4 || argc == 5) && strcmp(argv[1], "run") == 0;
    const bool reads = argc == 5 && strcmp(argv[1], "text") == 0;
    const long dimensions = runs && argc == 5 ? strtol(argv[4], NULL, 10) : 0;
    if ((!replays && !runs && !reads) || (runs && argc == 5 && dimensions < 1)) {
        fputs(USAGE, stderr);
        return 2;
    }
    char model[4096];
    snprintf(model, sizeof model, "%s/onnx/%s", argv[2], reads ? "model_text.onnx" : "model.onnx");
    PoolGraph *graph = pool_open(model, reads ? argv[4] : NULL);
    if (graph == NULL) {
        fprintf(stderr, "error: %s\n", pool_error());
        return 1;
    }
    const int code = run_command(graph, argv, dimensions);
    pool_close(graph);
    return code;
}
