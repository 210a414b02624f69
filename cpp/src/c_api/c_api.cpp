#include "sparse_engine/c_api.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "sparse_engine/session.hpp"

using sparse_engine::check;
using sparse_engine::Index;
using sparse_engine::Program;
using sparse_engine::Session;

struct sparse_engine_model {
  Session session;

  const Program& program() const { return session.program(); }
};

namespace {

using Values = std::vector<Index>;

void tell(const char* what, char* error, std::size_t size) {
  if (error == nullptr || size == 0) return;
  const std::size_t length = std::min(std::strlen(what), size - 1);
  std::memcpy(error, what, length);
  error[length] = '\0';
}

// What `work` throws becomes a status and a message.
template <class Work>
sparse_engine_status guarded(char* error, std::size_t size, const Work& work) {
  tell("", error, size);
  try {
    work();
    return SPARSE_ENGINE_OK;
  } catch (const std::invalid_argument& failure) {
    tell(failure.what(), error, size);
    return SPARSE_ENGINE_INVALID;
  } catch (const std::bad_alloc&) {
    tell("out of memory", error, size);
    return SPARSE_ENGINE_OUT_OF_MEMORY;
  } catch (const std::exception& failure) {
    tell(failure.what(), error, size);
  } catch (...) {
    tell("unknown failure", error, size);
  }
  return SPARSE_ENGINE_FAILED;
}

bool has(const Values& values, int index) { return index >= 0 && static_cast<std::size_t>(index) < values.size(); }

const sparse_engine::ValueInfo& info(const sparse_engine_model& model, const Values& values, int index) {
  return model.program().values()[static_cast<std::size_t>(values[static_cast<std::size_t>(index)])];
}

int count(const Values& values) { return static_cast<int>(values.size()); }

const char* name(const sparse_engine_model& model, const Values& values, int index) {
  return has(values, index) ? info(model, values, index).name.c_str() : nullptr;
}

int rank(const sparse_engine_model& model, const Values& values, int index) {
  return has(values, index) ? static_cast<int>(info(model, values, index).shape.size()) : -1;
}

sparse_engine_status shape(const sparse_engine_model& model, const Values& values, int index, std::int64_t batch,
                           std::int64_t* sizes) {
  if (!has(values, index) || batch < 0 || sizes == nullptr) return SPARSE_ENGINE_INVALID;
  return guarded(nullptr, 0, [&] {
    const std::vector<Index> found = model.program().shape(values[static_cast<std::size_t>(index)], batch);
    std::copy(found.begin(), found.end(), sizes);
  });
}

}  // namespace

sparse_engine_model* sparse_engine_open_bytes(const void* bytes, size_t size, int threads, char* error, size_t error_size) {
  sparse_engine_model* model = nullptr;
  guarded(error, error_size, [&] {
    check(bytes != nullptr || size == 0, "bytes is NULL");
    auto program = std::make_shared<const Program>(Program::from_bytes({static_cast<const std::uint8_t*>(bytes), size}));
    model = new sparse_engine_model{Session(std::move(program), threads)};
  });
  return model;
}

sparse_engine_model* sparse_engine_open(const char* path, int threads, char* error, size_t error_size) {
  std::vector<char> bytes;
  const sparse_engine_status read = guarded(error, error_size, [&] {
    check(path != nullptr, "path is NULL");
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + std::string(path));
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  });
  if (read != SPARSE_ENGINE_OK) return nullptr;
  return sparse_engine_open_bytes(bytes.data(), bytes.size(), threads, error, error_size);
}

void sparse_engine_close(sparse_engine_model* model) { delete model; }

int sparse_engine_input_count(const sparse_engine_model* model) { return count(model->program().inputs()); }
int sparse_engine_output_count(const sparse_engine_model* model) { return count(model->program().outputs()); }

const char* sparse_engine_input_name(const sparse_engine_model* model, int index) {
  return name(*model, model->program().inputs(), index);
}
const char* sparse_engine_output_name(const sparse_engine_model* model, int index) {
  return name(*model, model->program().outputs(), index);
}

int sparse_engine_input_rank(const sparse_engine_model* model, int index) {
  return rank(*model, model->program().inputs(), index);
}
int sparse_engine_output_rank(const sparse_engine_model* model, int index) {
  return rank(*model, model->program().outputs(), index);
}

sparse_engine_status sparse_engine_input_shape(const sparse_engine_model* model, int index, int64_t batch, int64_t* shape_out) {
  return shape(*model, model->program().inputs(), index, batch, shape_out);
}
sparse_engine_status sparse_engine_output_shape(const sparse_engine_model* model, int index, int64_t batch,
                                                int64_t* shape_out) {
  return shape(*model, model->program().outputs(), index, batch, shape_out);
}

sparse_engine_status sparse_engine_run(const sparse_engine_model* model, int64_t batch, const float* const* inputs,
                                       float* const* outputs, char* error, size_t error_size) {
  return guarded(error, error_size, [&] {
    check(batch >= 0, "batch is ", batch, "; it must not be negative");
    const std::size_t reads = model->program().inputs().size(), writes = model->program().outputs().size();
    check(inputs != nullptr && outputs != nullptr, "inputs or outputs is NULL");
    for (std::size_t i = 0; i < reads; ++i) check(inputs[i] != nullptr, "inputs[", i, "] is NULL");
    for (std::size_t i = 0; i < writes; ++i) check(outputs[i] != nullptr, "outputs[", i, "] is NULL");
    model->session.run(batch, {inputs, inputs + reads}, {outputs, outputs + writes});
  });
}
