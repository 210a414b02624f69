#include "session/weights.hpp"

#include <algorithm>
#include <vector>

#include "base/exact_type.hpp"
#include "base/tuning.hpp"
#include "sparse_engine/bitmask.hpp"
#include "sparse_engine/bsr.hpp"
#include "sparse_engine/cost_model.hpp"
#include "sparse_engine/csr.hpp"
#include "sparse_engine/runtime.hpp"

namespace sparse_engine {

const char* name_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::csr: return "csr";
    case WeightFormat::bitmask: return "bitmask";
    case WeightFormat::strips2: return "dense strips of 2";
    case WeightFormat::strips4: return "dense strips of 4";
    case WeightFormat::blocks8: return "dense blocks of 8 rows";
  }
  return "";
}

WeightFormat choose_format(double density, const ProductShape& shape) {
  const auto& [columns, lanes, group_rows, cached] = shape;
  double csr = product_cost("csr", density, columns);
  if (columns <= kSkinnyColumns) {
    constexpr double kNearlyAll = 0.9;               // stored: zeros take less then than a bit for each weight does
    const double many = columns == 1 ? 0.48 : 0.65;  // stored: multiplying the zeros takes less than telling the others apart
    const bool blocks = group_rows % 8 == 0;
    if (blocks && density >= (cached ? many : kNearlyAll)) return WeightFormat::blocks8;
    // A bitmask saves bytes, not time.
    if (blocks && cached) return WeightFormat::csr;
    return csr <= product_cost("bitmask", density, columns) ? WeightFormat::csr : WeightFormat::bitmask;
  }
  // What a weight costs besides its vectors: over so few of them it is not spread.
  constexpr double kVectors = 6, kForEachLess = 0.25;
  const Index vectors = (columns + lanes - 1) / lanes;
  csr += density * kForEachLess * std::max(0.0, kVectors - static_cast<double>(vectors));
  if (csr <= product_cost("bsr4x1", 1.0, columns)) return WeightFormat::csr;
  return group_rows % 4 == 0 ? WeightFormat::strips4 : group_rows % 2 == 0 ? WeightFormat::strips2 : WeightFormat::csr;
}

namespace {

bool are_cached(const Program& program) {
  Index floats = 0;
  for (const WeightInfo& w : program.weights()) floats += w.rows * w.cols;
  return floats <= tuning().matrix_bytes / static_cast<Index>(sizeof(float));
}

}  // namespace

Weights::Weights(std::shared_ptr<const Program> program) : program_(std::move(program)), cached_(are_cached(*program_)) {}

double Weights::density(Index weight) const {
  const WeightInfo& w = program_->weights()[static_cast<std::size_t>(weight)];
  return static_cast<double>(w.values.size()) / (static_cast<double>(w.rows) * static_cast<double>(w.cols));
}

std::shared_ptr<const Matrix> Weights::get(Index weight, WeightFormat format) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Matrix>& found = made_[{weight, format}];
  if (found) return found;
  const WeightInfo& w = program_->weights()[static_cast<std::size_t>(weight)];
  std::vector<float> dense(static_cast<std::size_t>(w.rows * w.cols));
  w.to_dense(dense.data());
  ValueType type = exact_type(w.values);  // which blocks do not keep
  // Without an instruction that widens them, float16 takes several times as long as the bytes of float32.
  if (type == ValueType::float16 && isa() == "baseline") type = ValueType::float32;
  switch (format) {
    case WeightFormat::csr: found = std::make_shared<Csr>(Csr::from_dense(dense.data(), w.rows, w.cols, type)); break;
    case WeightFormat::bitmask:
      found = std::make_shared<Bitmask>(Bitmask::from_dense(dense.data(), w.rows, w.cols, type));
      break;
    case WeightFormat::strips2: found = std::make_shared<Bsr>(Bsr::from_dense(dense.data(), w.rows, w.cols, {2, 1})); break;
    case WeightFormat::blocks8:
      found = std::make_shared<Bsr>(Bsr::from_dense(dense.data(), w.rows, w.cols, {8, w.cols % 8 == 0 ? 8 : 1}));
      break;
    case WeightFormat::strips4: found = std::make_shared<Bsr>(Bsr::from_dense(dense.data(), w.rows, w.cols, {4, 1})); break;
  }
  return found;
}

Index Weights::bytes() {
  const std::lock_guard lock(mutex_);
  Index sum = 0;
  for (const auto& [key, matrix] : made_)
    if (matrix) sum += matrix->bytes() + matrix->layout_bytes();
  return sum;
}

}  // namespace sparse_engine
