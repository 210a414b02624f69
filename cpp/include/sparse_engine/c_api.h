/* Compiled models from C, and from any language that calls C: open a file that Python saved with compiled.save(), run it.
 *
 * Functions that open and run take a buffer for the message of what went wrong, of error_size bytes (NULL and 0 for none): it
 * is cut where it is too long, ends with a zero, and is empty where nothing went wrong. Nothing throws through this interface.
 *
 * Inputs that Python gives as integers or truth values are whole numbers in float here.
 *
 * Linking needs the C++ standard library as well: the CMake package's target does that. */
#ifndef SPARSE_ENGINE_C_API_H
#define SPARSE_ENGINE_C_API_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A compiled model, its weights and the threads that run it. Any number of threads may run one model at once, each with threads
 * and memory of its own; closing it must be the last call. */
typedef struct sparse_engine_model sparse_engine_model;

typedef enum sparse_engine_status {
  SPARSE_ENGINE_OK = 0,
  SPARSE_ENGINE_INVALID = 1, /* an argument or a file that breaks a rule */
  SPARSE_ENGINE_OUT_OF_MEMORY = 2,
  SPARSE_ENGINE_FAILED = 3 /* anything else, such as a file that cannot be read */
} sparse_engine_status;

/* What is in a file, which is checked like a stranger's; NULL where that fails. `threads` of each caller, 0 for as many as
 * SPARSE_ENGINE_NUM_THREADS says, or as there are. */
sparse_engine_model* sparse_engine_open(const char* path, int threads, char* error, size_t error_size);
/* The same of the file's content, which is not needed afterwards. */
sparse_engine_model* sparse_engine_open_bytes(const void* bytes, size_t size, int threads, char* error, size_t error_size);
/* NULL is allowed. */
void sparse_engine_close(sparse_engine_model* model);

/* How many inputs and outputs there are. */
int sparse_engine_input_count(const sparse_engine_model* model);
int sparse_engine_output_count(const sparse_engine_model* model);
/* The name of one of them, alive as long as the model; NULL for an index outside. */
const char* sparse_engine_input_name(const sparse_engine_model* model, int index);
const char* sparse_engine_output_name(const sparse_engine_model* model, int index);
/* How many axes it has, −1 for an index outside; and the length of each at a batch size, written to shape[0 .. rank). */
int sparse_engine_input_rank(const sparse_engine_model* model, int index);
int sparse_engine_output_rank(const sparse_engine_model* model, int index);
sparse_engine_status sparse_engine_input_shape(const sparse_engine_model* model, int index, int64_t batch, int64_t* shape);
sparse_engine_status sparse_engine_output_shape(const sparse_engine_model* model, int index, int64_t batch, int64_t* shape);

/* Runs the model: an array of float32 for every input and output, contiguous, of its shape at this batch size. Outputs overlap
 * nothing. A batch size is planned at its first run. */
sparse_engine_status sparse_engine_run(const sparse_engine_model* model, int64_t batch, const float* const* inputs,
                                       float* const* outputs, char* error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
