/* Runs a compiled model that Python saved with compiled.save("model.sparse"): inputs of ones, the first numbers of each output.
 *
 *   run_model FILE [BATCH [THREADS]] */
#include <inttypes.h>
#include <sparse_engine/c_api.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_AXES = 8, SHOWN = 8 };

/* Memory of ones for an input or output, and how many there are. */
static float* ones(const int64_t* shape, int rank, int64_t* count) {
  *count = 1;
  for (int axis = 0; axis < rank; ++axis) *count *= shape[axis];
  float* values = malloc((size_t)(*count > 0 ? *count : 1) * sizeof *values);
  for (int64_t i = 0; values != NULL && i < *count; ++i) values[i] = 1.0f;
  return values;
}

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    fprintf(stderr, "usage: run_model FILE [BATCH [THREADS]]\n");
    return 2;
  }
  const int64_t batch = argc > 2 ? strtoll(argv[2], NULL, 10) : 1;
  char error[256];
  sparse_engine_model* model = sparse_engine_open(argv[1], argc > 3 ? atoi(argv[3]) : 0, error, sizeof error);
  if (model == NULL) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }

  const int inputs = sparse_engine_input_count(model), outputs = sparse_engine_output_count(model);
  float** x = calloc((size_t)inputs, sizeof *x);
  float** y = calloc((size_t)outputs, sizeof *y);
  int64_t shape[MOST_AXES], count;
  int failed = x == NULL || y == NULL;
  for (int i = 0; i < inputs && !failed; ++i) {
    failed |= sparse_engine_input_shape(model, i, batch, shape) != SPARSE_ENGINE_OK;
    failed = failed || (x[i] = ones(shape, sparse_engine_input_rank(model, i), &count)) == NULL;
  }
  for (int i = 0; i < outputs && !failed; ++i) {
    failed |= sparse_engine_output_shape(model, i, batch, shape) != SPARSE_ENGINE_OK;
    failed = failed || (y[i] = ones(shape, sparse_engine_output_rank(model, i), &count)) == NULL;
  }
  if (!failed && sparse_engine_run(model, batch, (const float* const*)x, y, error, sizeof error) != SPARSE_ENGINE_OK) {
    fprintf(stderr, "%s\n", error);
    failed = 1;
  }
  for (int i = 0; i < outputs && !failed; ++i) {
    const int rank = sparse_engine_output_rank(model, i);
    sparse_engine_output_shape(model, i, batch, shape);
    printf("%s (", sparse_engine_output_name(model, i));
    count = 1;
    for (int axis = 0; axis < rank; ++axis) {
      printf(axis == 0 ? "%" PRId64 : ", %" PRId64, shape[axis]);
      count *= shape[axis];
    }
    printf("):");
    for (int64_t k = 0; k < count && k < SHOWN; ++k) printf(" %g", (double)y[i][k]);
    printf("\n");
  }

  for (int i = 0; x != NULL && i < inputs; ++i) free(x[i]);
  for (int i = 0; y != NULL && i < outputs; ++i) free(y[i]);
  free(x);
  free(y);
  sparse_engine_close(model);
  return failed;
}
