#ifndef POOL_REPLAY_H
#define POOL_REPLAY_H

#include "graph.h"

/* Replay a golden.json: every case's token ids through the graph, its outputs beside the reference's. Differences go to
   stderr, the verdict to stdout. 0: all agree; 1: a difference, or no such file. */
int pool_replay(PoolGraph *graph, const char *path);

#endif
