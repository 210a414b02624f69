#include "sparse_engine/cost_model.hpp"

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

struct Modelled {
  std::string_view format;
  ProductCost cost;
};

constexpr Modelled kModelled[] = {
    {"csr", Tuning::csr}, {"bitmask", Tuning::bitmask}, {"bsr4x1", Tuning::bsr_strips}, {"nm2:4", Tuning::nm}};

}  // namespace

double product_cost(std::string_view format, double density, Index columns) {
  for (const auto& [name, cost] : kModelled) {
    if (name != format) continue;
    if (columns <= kSkinnyColumns) return (cost.few * density + cost.few_fixed) / 4;
    return cost.wide * density + cost.overhead;
  }
  std::string known;
  for (const auto& [name, cost] : kModelled) {
    append(known, known.empty() ? "" : ", ");
    append(known, name);
  }
  check(false, "format = '", format, "' is not one of: ", known);
  return 0;
}

}  // namespace sparse_engine
